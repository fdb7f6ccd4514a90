package steps

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/step-runner/step-runner/artifacts"
	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/summary"
)

// Summary writes the summary and gives the verdict.
type Summary struct {
	facts record.VerdictFacts
}

// Help is the long help.
func (*Summary) Help() string {
	return `Writes STEP_SUMMARY_LITE.md (STEP_SUMMARY.md in the original variant) from the records of the
run and from nothing else: the verdict, what failed and what to try, the eight steps, notebook cells,
tests, coverage, GPU, sources and artifacts. It is put into the run's artifacts, the workspace's
artifacts/ and the workspace, and appended to the file that GITHUB_STEP_SUMMARY names.

The verdict is "passed" when steps 1 to 7, and fetch-data where it has run, each have a record that
says so and none of them has read a file that was written anew since; "failed" when one of them failed or its record cannot be read;
else "incomplete". The line ENTIRE 8-STEP WORKFLOW COMPLETED is in the summary only when it passed.

Exit status: 0 when the run passed; that of the first step that failed when one did, whatever the
caller of that step made of it; 17 when steps are missing; 72 or 13 when the run passed but its
summary could not be written.`
}

// ID is step 8.
func (*Summary) ID() record.ID { return record.Summary }

// Facts returns what Run fills in.
func (s *Summary) Facts() any { return &s.facts }

// Run writes the summary. Its error is the verdict's.
func (s *Summary) Run(ctx context.Context, j *Job) error {
	v := j.Env.Run.Judge()
	err := s.publish(ctx, j, v)
	if err != nil && v.Failure == nil {
		// Without its summary the workflow is not whole. What of it was written, or
		// still can be, must not say otherwise.
		v.Word, v.Failure = record.RunFailed, record.AsFailure(err)
		_ = s.publish(ctx, j, v)
	} else if err != nil {
		j.Note("%v", err)
	}
	s.facts.Verdict = v.Word
	if err := j.Output(s.path(j)); err != nil {
		j.Note("the run has no summary of its own: %v", err)
	}
	s.appendForGitHub(j, v)
	s.say(j, v)
	return s.failure(v)
}

func (s *Summary) report(j *Job, v artifacts.Verdict) *summary.Report {
	return &summary.Report{Run: j.Env.Run.ID, Variant: j.Variant, Runner: j.Version, Verdict: v, Redact: j.Secrets.String}
}

func (s *Summary) path(j *Job) string { return j.Env.Run.Path("artifacts", j.Variant.SummaryName()) }

// publish writes the summary into the run and puts it where users look for it.
func (s *Summary) publish(ctx context.Context, j *Job, v artifacts.Verdict) error {
	text := s.report(j, v).Markdown(summary.Limit)
	err := artifacts.WriteText(s.path(j), text)
	if err == nil {
		var notes []string
		notes, err = j.Env.Run.PublishSummary(ctx, j.Variant.SummaryName(), text, j.Now())
		for _, note := range notes {
			j.Note("%s", note)
		}
	}
	f := record.AsFailure(err)
	switch {
	case f == nil:
		return nil
	case f.Kind == record.DiskFull:
		return f.Within("the summary could not be published")
	}
	return record.Failf(record.PublishFailed, "the summary could not be published: %w", err)
}

// appendForGitHub adds the summary to the one that GitHub shows. It is theirs
// to lose: what goes wrong here is noted and changes no verdict.
func (s *Summary) appendForGitHub(j *Job, v artifacts.Verdict) {
	name := j.Getenv("GITHUB_STEP_SUMMARY")
	if name == "" {
		return
	}
	// A pipe that nobody reads must not keep us waiting.
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY|syscall.O_NONBLOCK, 0o664)
	if err != nil {
		j.Note("GITHUB_STEP_SUMMARY: %v", err)
		return
	}
	defer f.Close()
	room := summary.Limit - 1
	if fi, err := f.Stat(); err == nil {
		room -= int(fi.Size())
	}
	if room < summary.MinLimit {
		j.Note("GITHUB_STEP_SUMMARY: %s has no room left", name)
		return
	}
	if _, err := fmt.Fprintf(f, "\n%s", s.report(j, v).Markdown(room)); err != nil {
		j.Note("GITHUB_STEP_SUMMARY: %v", err)
	}
}

// say tells the verdict to whoever watches.
func (s *Summary) say(j *Job, v artifacts.Verdict) {
	fmt.Fprintf(j.Out, "\nrun %s, variant %s: %s\n", j.Env.Run.ID, strings.ToUpper(string(j.Variant)), v.Word)
	if v.Word == record.Passed {
		fmt.Fprintln(j.Out, summary.Completed(j.Variant))
	}
	fmt.Fprintf(j.Out, "summary: %s\n", s.path(j))
}

// failure is the verdict as this command's error.
func (s *Summary) failure(v artifacts.Verdict) error {
	switch {
	case v.Failure == nil:
		return nil
	case v.Word == record.RunIncomplete:
		return v.Failure.Within("the run is incomplete")
	case v.First != nil:
		return v.Failure.Within("the run failed: %s", v.First.Title())
	}
	return v.Failure.Within("the run failed")
}
