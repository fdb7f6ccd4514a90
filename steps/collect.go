package steps

import (
	"context"
	"path"

	"github.com/step-runner/step-runner/artifacts/record"
)

// Collect checks, lists and publishes the files of the run.
type Collect struct {
	Require  []string `help:"Files in the run's artifacts that must be there, instead of the seed's: the notebook, its page, coverage and test results." placeholder:"GLOB"`
	Optional []string `help:"Further files in the run's artifacts to collect if they are there." placeholder:"GLOB"`

	facts record.CollectFacts
}

// Help is the long help.
func (*Collect) Help() string {
	return `Collects what the steps of the run recorded as their outputs, and the logs of papermill,
nbconvert and pytest, in runs/ID/artifacts: each file is read once and checked for what it is (a
notebook parses and was run, a page is whole, XML is well formed), for having the digest that its
step recorded, and for holding no secret. manifest.json and SHA256SUMS list them; the latter can be
given to "sha256sum -c". Then the workspace's artifacts/ becomes a copy of them in one step.

Required are all outputs of steps that succeeded, and the four files of the seed: the executed
notebook, its HTML page, the coverage report and the test results. A file under another name stands
for one of these four when the step that makes it has recorded it and it is of that form. Coverage
is excused, with a note, when pytest-cov could not be had. With --require the globs given take the
place of these four; each must match a file.

What is missing or wrong fails the step, but everything else is published all the same; also what
is wrong, marked as such in the manifest. Not published, and reported: a file that holds a secret,
links and devices, files that no step recorded and no glob names. An artifacts/ that holds files
that no run has published is kept as artifacts.before-TIME.

Exit status: 0 when all is there and published; 70 something required is missing; 71 a file is not
what it should be or has changed; 72 the artifacts could not be published; 73 a file holds a secret;
13 no space is left. "step-runner --help" says where the full table is.`
}

// Validate refuses globs that can match nothing.
func (s *Collect) Validate() error {
	for _, glob := range append(append([]string{}, s.Require...), s.Optional...) {
		if _, err := path.Match(glob, ""); err != nil {
			return record.Failf(record.Usage, "glob %q: %w", glob, err)
		}
	}
	return nil
}

// ID is step 7.
func (*Collect) ID() record.ID { return record.Collect }

// Facts returns what Run fills in.
func (s *Collect) Facts() any { return &s.facts }

// Run collects and publishes. It goes on after each fault that leaves something
// to save; the gravest is its error, with all others named.
func (s *Collect) Run(ctx context.Context, j *Job) error {
	if err := s.Validate(); err != nil {
		return err
	}
	c := &collection{Collect: s, j: j, v: j.Env.Run.Judge()}
	if err := c.open(); err != nil {
		return err
	}
	defer c.close()
	c.begin(ctx)
	if err := c.gather(ctx); err != nil {
		return err
	}
	c.require()
	c.list()
	c.publish()
	return c.verdict()
}
