package steps

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/artifacts/units"
	"github.com/step-runner/step-runner/steps/fetch"
)

// FetchData fetches datasets into the workspace.
type FetchData struct {
	Dataset []string `facts:"" sep:"none" help:"A dataset and where it is: NAME=URL, http or https. After a # the URL may say sha256=HEX, format=FORMAT and file=NAME." placeholder:"NAME=URL"`
	URLs    string   `facts:"" name:"dataset-urls" seed:"DATASET_URLS" help:"More URLs, with spaces, line breaks or commas between them." placeholder:"URLS"`
	Names   string   `facts:"" name:"dataset-names" seed:"DATASET_NAMES" help:"Names of those, in the same order. The files' own names, less the suffix, when absent." placeholder:"NAMES"`
	SHA256  []string `facts:"" name:"sha256" help:"The digest that a dataset must have." placeholder:"NAME=HEX"`

	TokenFile string `effort:"" help:"File that holds a token for the datasets' server, such as a mounted Secret." placeholder:"FILE"`
	TokenHost string `effort:"" help:"Host, with its port if there is one, that the token is for. Needed when the URLs have several." placeholder:"HOST"`

	Connections int          `effort:"" default:"8" help:"Ranges of a file to fetch at once." placeholder:"N"`
	ChunkSize   units.Bytes  `effort:"" default:"4MiB" help:"Length of one range. A kill loses at most as much of each file." placeholder:"SIZE"`
	Retries     int          `effort:"" default:"6" help:"How many tries in a row may bring nothing: lost connections, stalls, 429 and 5xx, never 401, 403 and 404." placeholder:"N"`
	Stall       fetchTimeout `default:"30s" help:"How long a server may be silent before its connection is given up." placeholder:"DURATION"`
	Timeout     fetchTimeout `seed:"DOWNLOAD_TIMEOUT" help:"End the step after this time. A number is in seconds." placeholder:"DURATION"`

	MaxUnpacked units.Bytes `effort:"" default:"500GiB" help:"The most that an archive may unpack to." placeholder:"SIZE"`
	MaxRatio    int64       `effort:"" default:"200" help:"How many times its own size that may be, from 64 MiB on." placeholder:"N"`
	MaxEntries  int         `effort:"" default:"100000" help:"How many files and directories an archive may have." placeholder:"N"`

	CAFile string `effort:"" name:"ca-file" help:"More root certificates, in PEM: a file, or a directory of such files." placeholder:"FILE"`
	Proxy  string `effort:"" help:"Proxy for every request. That of HTTPS_PROXY, HTTP_PROXY and NO_PROXY when absent." placeholder:"URL"`

	facts record.FetchFacts
	// firstWait is the wait before the second try when it is not 0.
	firstWait time.Duration
}

// fetchTimeout is a duration that may be written as a number of seconds too, as
// the seed's download-timeout is.
type fetchTimeout time.Duration

// UnmarshalText reads "90m" or "5400".
func (d *fetchTimeout) UnmarshalText(text []byte) error {
	if n, err := strconv.ParseUint(string(text), 10, 31); err == nil {
		*d = fetchTimeout(time.Duration(n) * time.Second)
		return nil
	}
	v, err := time.ParseDuration(string(text))
	if err != nil || v < 0 {
		return fmt.Errorf("%q is no duration: write it like 90m, 1h30m or 5400", text)
	}
	*d = fetchTimeout(v)
	return nil
}

// ID is outside the workflow: it comes before step 3, or in a Task of its own.
func (*FetchData) ID() record.ID { return record.FetchData }

// Facts returns what Run fills in.
func (s *FetchData) Facts() any { return &s.facts }

// Help is the command's long help.
func (*FetchData) Help() string {
	return `Each dataset is fetched into cache/datasets in the workspace and put at
datasets/NAME there: archives (tar, tar.gz, tar.zst, zip; by the file's name, or
#format=) are unpacked, any other file lies in it under its own name, or #file=. The
directory appears as a whole or stays what it was. In run it comes before the
notebooks, when a dataset is given; its failure is then the run's.

A file comes in ranges over several connections, and is hashed while it is written.
What has arrived is listed in a journal: after a kill, even of the machine, the
download goes on from there. A file in the cache is used again when the server still
has that version (ETag, Last-Modified and length), or when it has the sha256 that is
asked for; its own digest is checked each time. Two runs that want one file fetch it
once. A server that gives no ranges is asked for the whole in one piece.

The token comes from --token-file, else from STEP_RUNNER_FETCH_DATA_TOKEN. It is sent
as a bearer token to its host only, never over a redirect to another one, and never
in plain text to another machine. Credentials and signatures in URLs are kept out of
records and logs.

Of an archive nothing gets out of the dataset's directory: no path, no link. Devices
are refused, and so is what unpacks to more than the limits.

Exit status: 0 when every dataset is in its place. 2 and 10 for flags and URLs that
cannot be used, 13 when the disk is full or too small, 35 when a server cannot be
reached, fails, stalls or breaks off, 36 when it refuses, 37 when it has no such file,
38 for a wrong digest, 39 for a file that is not what its name says or an archive that
is damaged or unsafe, 124 after --timeout, 128+n after signal n.`
}

// Run fetches one dataset after the other. One that fails does not hinder the
// others; the error is that of the first.
func (s *FetchData) Run(ctx context.Context, j *Job) error {
	if s.Timeout > 0 {
		var cancel context.CancelFunc
		limit := time.Duration(s.Timeout)
		ctx, cancel = context.WithTimeoutCause(ctx, limit, record.Failf(record.TimedOut, "fetching took longer than --timeout %s", limit))
		defer cancel()
	}
	s.facts.Datasets = []record.Dataset{}
	sources, err := s.sources(j)
	if err != nil {
		return err
	}
	client, err := s.client(j, sources)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := os.MkdirAll(j.Workspace.Path("datasets"), 0o775); err != nil {
		return err
	}
	var first error
	for _, source := range sources {
		d := record.Dataset{Name: source.Name, URL: source.String(), Key: source.Key(), Format: string(source.Format)}
		err := s.dataset(ctx, j, client, source, &d)
		s.facts.Datasets = append(s.facts.Datasets, d)
		if err != nil {
			err = fetchWithin(source, err)
			j.Log.Error("a dataset failed", "error", err)
		}
		if first == nil {
			first = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return first
}

// fetchWithin names the dataset in the error, unless that is about the whole step.
func fetchWithin(source fetch.Source, err error) error {
	f := record.AsFailure(err)
	if f.Kind == record.Signaled || f.Kind == record.TimedOut {
		return f
	}
	return f.Within("dataset %s from %s", source.Name, source)
}

// dataset fetches one dataset and puts it in its place.
func (s *FetchData) dataset(ctx context.Context, j *Job, client *fetch.Client, source fetch.Source, d *record.Dataset) error {
	unlock, err := fetchLock(ctx, j, "dataset-"+source.Key())
	if err != nil {
		return err
	}
	// Until the dataset is in its place: another version would take this one away.
	defer unlock()
	res, err := client.Get(ctx, source, fetch.Options{
		Dir: j.Workspace.Path("cache", "datasets", source.Key()), Connections: s.Connections, Chunk: int64(s.ChunkSize),
		Progress: fetchProgress(j, source.Name), Note: j.Note,
	})
	d.Bytes, d.SHA256, d.ETag, d.LastModified, d.Cached = res.Bytes, res.SHA256, res.ETag, res.LastModified, res.Cached
	d.ReceivedBytes, d.ResumedBytes, d.Connections = res.Received, res.Resumed, res.Connections
	d.Retries, d.Restarts, d.Seconds = res.Retries, res.Restarts, res.Seconds
	if err != nil {
		return err
	}
	unlockName, err := fetchLock(ctx, j, "dataset-name-"+source.Name)
	if err != nil {
		return err
	}
	defer unlockName()
	p, err := fetch.Place(ctx, source, res, j.Workspace.Path("datasets"), fetch.Limits{Bytes: int64(s.MaxUnpacked), Entries: s.MaxEntries, Ratio: s.MaxRatio})
	if err != nil {
		return err
	}
	d.Dir, d.Kept, d.Files, d.UnpackedBytes, d.Backup = p.Dir, p.Kept, p.Files, p.Bytes, p.Backup
	if d.Backup != "" {
		j.Note("%s held what step-runner had not put there, or what was changed since; it was moved to %s", d.Dir, d.Backup)
	}
	j.Log.Info("dataset is in its place", "name", d.Name, "dir", d.Dir, "bytes", d.Bytes, "sha256", d.SHA256, "cached", d.Cached, "kept", d.Kept, "seconds", fmt.Sprintf("%.1f", d.Seconds))
	return nil
}

func fetchLock(ctx context.Context, j *Job, name string) (func(), error) {
	wait := time.AfterFunc(2*time.Second, func() { j.Log.Info("waiting for another run that fetches the same dataset", "lock", name) })
	defer wait.Stop()
	return j.Workspace.LockContext(ctx, name)
}

// fetchProgress tells bytes, rate and the time that is left, a few times a second
// at most.
func fetchProgress(j *Job, name string) func(done, total int64) {
	var mu sync.Mutex
	var began int64
	start := time.Now()
	last := start
	return func(done, total int64) {
		mu.Lock()
		defer mu.Unlock()
		now := time.Now()
		if began == 0 {
			began, start = done, now // What was there before is no measure of the rate.
		}
		if now.Sub(last) < 200*time.Millisecond {
			return
		}
		last = now
		rate := float64(done-began) / max(now.Sub(start).Seconds(), 0.001)
		text := fmt.Sprintf("fetch-data: %s: %s", name, units.Bytes(done))
		if total > 0 {
			text += fmt.Sprintf(" of %s (%d %%)", units.Bytes(total), done*100/total)
		}
		text += fmt.Sprintf(", %s/s", units.Bytes(rate))
		if total > 0 && rate > 0 {
			text += fmt.Sprintf(", %s left", time.Duration(float64(total-done)/rate*float64(time.Second)).Round(time.Second))
		}
		j.Console.Progress("%s", text)
	}
}
