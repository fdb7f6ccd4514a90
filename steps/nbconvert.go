package steps

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/child"
	"github.com/step-runner/step-runner/steps/notebook"
)

// Nbconvert renders executed notebooks to HTML.
type Nbconvert struct {
	Notebooks        `embed:""`
	NbconvertOptions `embed:""`

	facts record.NbconvertFacts
}

// NbconvertOptions are the flags that `run` has too, as --nbconvert-….
type NbconvertOptions struct {
	Output       string `seed:"OUTPUT_NOTEBOOK_HTML" help:"File name of the page, in the run's artifacts, when there is one." placeholder:"FILE"`
	Scripts      bool   `help:"Let the scripts that the notebook's outputs bring along run in the page. They can read what the web server that shows it lets them."`
	Sanitize     bool   `help:"Leave scripts and active HTML out of the page altogether."`
	child.Limits `embed:""`
}

// ID is step 4.
func (*Nbconvert) ID() record.ID { return record.Nbconvert }

// Facts returns what Run fills in.
func (s *Nbconvert) Facts() any { return &s.facts }

// Help is the long help.
func (*Nbconvert) Help() string {
	return `Renders the executed notebooks of step 3, also those that failed, to one HTML page
each in the run's artifacts: output_analysis_lite.html for one notebook,
result_NAME_lite.html for several (without _lite in the original variant). A
notebook that is given and that step 3 has not run is rendered as it is.

A page needs no network: images are embedded, and nothing is loaded from other
hosts. So formulas are shown as their source, and diagrams in Mermaid too. Scripts
of the outputs stay in the page, but a Content-Security-Policy keeps browsers from
running them unless --scripts is given.

Exit status: 0 when every page is whole, 11 when nbconvert is not there, 16 when
step 3 has left no notebook, 40 or 41 when a given notebook is missing or
invalid, 50 when nbconvert failed, 124 after a time limit, 128+n after signal n.`
}

// Run renders each notebook; one that fails does not keep the next from it.
func (s *Nbconvert) Run(ctx context.Context, j *Job) error {
	all, err := s.renderings(j)
	if err != nil {
		return err
	}
	c := &converter{Job: j, opts: &s.NbconvertOptions, work: j.Env.Run.Path("work", "nbconvert")}
	if err := c.open(); err != nil {
		return err
	}
	var first *record.Failure
	for i, r := range all {
		if err := c.convert(ctx, i, r); err != nil {
			f := record.AsFailure(err).Within("%s", j.Env.Run.Rel(r.notebook))
			if first == nil {
				first = f
			}
			if len(all) > 1 { // That of a single one is the step's.
				j.Log.Error(f.Message)
			}
			continue
		}
		s.facts.Pages = append(s.facts.Pages, record.Page{Input: j.Env.Run.Rel(r.notebook), Output: j.Env.Run.Rel(r.page)})
	}
	if first != nil {
		return first
	}
	return nil
}

// converter runs nbconvert.
type converter struct {
	*Job
	opts   *NbconvertOptions
	work   string
	python string
}

func (c *converter) open() (err error) {
	if c.python, err = c.Python(); err != nil {
		return err
	}
	// Python searches the current directory for modules: it is one of our own.
	return errors.Join(os.RemoveAll(c.work), os.MkdirAll(filepath.Join(c.work, "cwd"), 0o775))
}

// convert renders one notebook, checks the page, and only then puts it in place.
func (c *converter) convert(ctx context.Context, i int, r rendering) error {
	if r.err != nil {
		return r.err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := errors.Join(os.RemoveAll(r.page), c.Input(r.notebook)); err != nil {
		return err
	}
	n, err := readNotebook(r.notebook)
	if err != nil {
		return err
	}
	dir := filepath.Join(c.work, fmt.Sprint(i+1))
	src, err := stage(r, dir)
	if err != nil {
		return err
	}
	made, templates := filepath.Join(c.work, "page.html"), filepath.Join(c.work, fmt.Sprintf("templates-%d", i+1))
	if err := notebook.WriteTemplate(templates, c.opts.Scripts, c.banner(r)); err != nil {
		return err
	}
	if err := c.nbconvert(ctx, templates, src, made); err != nil {
		return err
	}
	if err := notebook.ClosePage(made); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := c.check(n, made); err != nil {
		return err
	}
	if err := os.Rename(made, r.page); err != nil {
		return err
	}
	return errors.Join(c.Mask(r.page), c.Output(r.page))
}

// banner is what a page of the lite variant says first.
func (c *converter) banner(r rendering) string {
	switch {
	case r.lite != nil:
		return "LITE: " + r.lite.Text()
	case c.Variant == artifacts.Lite:
		return "LITE"
	}
	return ""
}

func readNotebook(path string) (*notebook.Notebook, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return notebook.Parse(data)
}

// static is what a page without scripts can show, the best first.
const static = `["text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/latex", "text/plain"]`

func (c *converter) nbconvert(ctx context.Context, templates, src, page string) error {
	args := []string{
		c.python, "-m", "nbconvert", "--to", "html", "--template", notebook.TemplateName,
		"--TemplateExporter.extra_template_basedirs=" + templates,
		"--HTMLExporter.embed_images=True", fmt.Sprintf("--HTMLExporter.sanitize_html=%s", pythonBool(c.opts.Sanitize)),
		"--output-dir", filepath.Dir(page), "--output", filepath.Base(page),
	}
	if !c.opts.Scripts {
		args = append(args, "--NbConvertBase.display_data_priority="+static)
	}
	tail := child.NewTail(c.Out)
	res, err := c.Child(ctx, child.Spec{
		Argv: append(args, pythonGlobEscape(src)), Dir: filepath.Join(c.work, "cwd"), Env: c.ChildEnv(), Out: tail, Limits: c.opts.Limits,
	})
	switch module := missingModule.FindStringSubmatch(tail.Reason()); {
	case err != nil:
		return err
	case res.OOMKills > 0 && res.Signal != "":
		return record.Failf(record.OutOfMemory, "nbconvert was ended by %s for lack of memory", res.Signal)
	case res.Signal != "":
		return record.Failf(record.ConvertFailed, "nbconvert was ended by %s", res.Signal)
	case res.ExitCode != 0 && module != nil:
		return record.Failf(record.MissingTool, "nbconvert cannot be run: there is no Python module %s", module[1])
	case res.ExitCode != 0:
		return record.Failf(record.ConvertFailed, "nbconvert ended with exit code %d: %s", res.ExitCode, tail.Reason())
	}
	return nil
}

func pythonBool(b bool) string {
	if b {
		return "True"
	}
	return "False"
}

// pythonGlobEscape keeps nbconvert from reading a path as a pattern.
func pythonGlobEscape(s string) string {
	return strings.NewReplacer("[", "[[]", "*", "[*]", "?", "[?]").Replace(s)
}

var missingModule = regexp.MustCompile(`No module named '?([\w.]+)'?$`)

// check says why the page is not the whole rendering of n, and notes what a
// reader of it will miss.
func (c *converter) check(n *notebook.Notebook, page string) error {
	f, err := os.Open(page)
	if err != nil {
		return record.Failf(record.ConvertFailed, "nbconvert reports success but has written no page: %w", err)
	}
	defer f.Close()
	p, err := notebook.ReadPage(f)
	if err == nil {
		err = p.Whole(n)
	}
	if err != nil {
		return record.Failf(record.ConvertFailed, "the page is not whole: %w", err)
	}
	if n.HasMath() {
		c.Note("the page shows formulas as their source: MathJax would be loaded from another host")
	}
	if p.Scripts > 0 && !c.opts.Scripts {
		c.Note("the page does not run the %d scripts of the notebook's outputs: see nbconvert --scripts", p.Scripts)
	}
	if len(p.External) > 0 {
		c.Note("the page does not load what the notebook's outputs want from other hosts: %s", strings.Join(p.External[:min(len(p.External), 5)], ", "))
	}
	return nil
}
