package main

import (
	"errors"
	"io"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/step-runner/step-runner/steps"
)

// cli is every command with its flags.
type cli struct {
	Globals globals `embed:""`

	Setup     steps.Setup     `cmd:"" group:"workflow" help:"Step 1: check the container and the workspace, before anything is spent."`
	Clone     steps.Clone     `cmd:"" group:"workflow" help:"Steps 2 and 5 (--tests): fetch a repository at a revision."`
	Papermill steps.Papermill `cmd:"" group:"workflow" help:"Step 3: run notebooks and say truly how they ended."`
	Nbconvert steps.Nbconvert `cmd:"" group:"workflow" help:"Step 4: render the executed notebooks to HTML."`
	Pytest    steps.Pytest    `cmd:"" group:"workflow" help:"Step 6: run the tests in an environment of their own."`
	Collect   steps.Collect   `cmd:"" group:"workflow" help:"Step 7: check, list and publish the files of the run."`
	Summary   steps.Summary   `cmd:"" group:"workflow" help:"Step 8: write the summary and give the verdict."`
	Run       steps.Run       `cmd:"" group:"workflow" help:"All eight steps in one process."`

	GPUCheck  steps.GPUCheck  `cmd:"" name:"gpu-check" group:"other" help:"Say which GPUs this container can use."`
	RMM       steps.RMM       `cmd:"" name:"rmm" group:"other" help:"Explain the notebooks' memory policy, or try it on the GPU."`
	Subsample steps.Subsample `cmd:"" group:"other" help:"Cut a small data set out of an AnnData or 10x file."`
	FetchData steps.FetchData `cmd:"" name:"fetch-data" group:"other" help:"Fetch datasets once, and put them where notebooks find them."`
	Merge     steps.Merge     `cmd:"" group:"other" help:"Take the notebooks of other runs as this run's step 3."`
	Install   steps.Install   `cmd:"" group:"other" help:"Copy this program into a directory."`
	Version   versionCmd      `cmd:"" group:"other" help:"Print the version."`
	Config    configCmd       `cmd:"" group:"other" help:"Show every setting with its value and its source."`
	Schema    schemaCmd       `cmd:"" group:"other" help:"Print the JSON Schema of a record."`

	GPUProbe gpuProbeCmd `cmd:"" name:"gpu-probe" hidden:""`

	Completion completionCmd `cmd:"" group:"other" help:"Print the shell code for tab completion."`
}

// globals are the flags of every command.
type globals struct {
	Workspace string   `group:"global" seed:"DOCKER_WRITEABLE_DIR" placeholder:"DIR" help:"Directory that all steps of all runs share."`
	Run       string   `group:"global" placeholder:"ID[@OWNER]" help:"The run that this step belongs to. Made up when absent. With an owner, such as a PipelineRun's uid, a run of that name that is another's is refused."`
	Variant   string   `group:"global" enum:"lite,original" default:"lite" placeholder:"lite|original" help:"Which variant of the workflow this is."`
	Result    []string `group:"global" placeholder:"FILE" help:"Write a small result of the step to this file; its name says which, as Tekton has it. May be repeated. The results are ${results}."`
	JSON      bool     `group:"global" name:"json" help:"Print the record of the step on stdout as JSON."`
	Config    string   `group:"global" placeholder:"FILE" help:"YAML file with settings."`
	LogLevel  string   `group:"global" enum:"debug,info,warn,error" default:"info" placeholder:"LEVEL" help:"Least level of the log lines on stderr: debug, info, warn or error."`
}

// plain is a command that leaves no record.
type plain interface{ run(p *process) error }

// errHelp ends the parse after --help has printed: kong's own way is to exit,
// and with exit stubbed it would go on into the command.
var errHelp = errors.New("help was printed")

func newParser(c *cli, s *settings, stdout io.Writer) (*kong.Kong, error) {
	parser, err := kong.New(c,
		kong.Name("step-runner"),
		kong.Description("Runs a GPU notebook workflow of eight steps and gives a verdict that can be trusted."),
		kong.Vars{"steps": strings.Join(steps.StepNames(), ", "), "results": strings.Join(steps.ResultNames(), ", ")},
		kong.Writers(stdout, io.Discard),
		kong.ExplicitGroups([]kong.Group{
			{Key: "workflow", Title: "The workflow:"},
			{Key: "other", Title: "Other commands:"},
			{Key: "global", Title: "Flags of every command:"},
		}),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true, WrapUpperBound: 100}),
		kong.ValueFormatter(s.help),
		kong.Help(func(o kong.HelpOptions, ctx *kong.Context) error {
			return errors.Join(kong.DefaultHelpPrinter(o, ctx), errHelp)
		}),
		kong.Resolvers(s),
		// Nothing of kong's that we use needs to exit.
		kong.Exit(func(int) {}),
	)
	if err != nil {
		return nil, err
	}
	s.learn(parser.Model.Node)
	return parser, nil
}
