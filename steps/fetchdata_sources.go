package steps

import (
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/fetch"
	"github.com/step-runner/step-runner/steps/repo"
)

// given says whether the flags name any dataset.
func (s *FetchData) given() bool {
	return len(s.Dataset) > 0 || s.URLs != "" || s.Names != "" || len(s.SHA256) > 0
}

// StillGood says whether the datasets that are asked for, or those of the record when
// none are named, lie where an earlier attempt has put them, unchanged.
func (s *FetchData) StillGood(j *Job, rec *record.Record) bool {
	old := rec.Facts.(*record.FetchFacts).Datasets
	if s.given() {
		sources, err := s.sources(j)
		if err != nil || !slices.EqualFunc(sources, old, sameDataset) {
			return false
		}
	}
	return !slices.ContainsFunc(old, func(d record.Dataset) bool { return !fetch.Intact(d.Dir, d.SHA256) })
}

// sameDataset says whether what is asked for is what was fetched.
func sameDataset(s fetch.Source, d record.Dataset) bool {
	if s.Name != d.Name || s.Key() != d.Key || string(s.Format) != d.Format || s.SHA256 != "" && s.SHA256 != d.SHA256 {
		return false
	}
	if s.Format != fetch.Plain {
		return true
	}
	_, err := os.Lstat(filepath.Join(d.Dir, s.File))
	return err == nil
}

// sources reads the flags.
func (s *FetchData) sources(j *Job) ([]fetch.Source, error) {
	if s.Connections < 1 || s.Connections > 64 || s.ChunkSize < 1 || s.ChunkSize > 1<<30 || s.Retries < 0 || s.MaxRatio < 1 || s.MaxEntries < 1 || s.Stall <= 0 {
		return nil, record.Failf(record.Usage, "--connections is 1 to 64, --chunk-size up to 1GiB, --retries not negative, and the other limits are above 0")
	}
	if j.Workspace == nil {
		return nil, record.Failf(record.Usage, "no workspace is given").WithHint("give --workspace DIR, or set STEP_RUNNER_WORKSPACE or DOCKER_WRITEABLE_DIR")
	}
	pairs, err := s.pairs()
	if err != nil {
		return nil, err
	}
	var sources []fetch.Source
	names := map[string]int{}
	for _, pair := range pairs {
		source, err := fetch.ParseSource(pair[0], pair[1])
		if err != nil {
			return nil, err
		}
		if _, twice := names[source.Name]; twice {
			return nil, record.Failf(record.Usage, "two datasets are called %s", source.Name)
		}
		names[source.Name] = len(sources)
		for _, secret := range source.Secrets() {
			j.Secrets.Add(secret)
		}
		sources = append(sources, source)
	}
	return sources, s.expect(sources, names)
}

// pairs are the names, which may be "", and the URLs.
func (s *FetchData) pairs() ([][2]string, error) {
	var pairs [][2]string
	for _, text := range s.Dataset {
		name, address, ok := strings.Cut(text, "=")
		if !ok || strings.ContainsAny(name, ":/") {
			return nil, record.Failf(record.Usage, "--dataset is NAME=URL")
		}
		pairs = append(pairs, [2]string{name, address})
	}
	urls, names := fetchList(s.URLs), fetchList(s.Names)
	if len(names) > 0 && len(names) != len(urls) {
		return nil, record.Failf(record.Usage, "%d --dataset-names for %d --dataset-urls", len(names), len(urls))
	}
	for i, address := range urls {
		pair := [2]string{"", address}
		if len(names) > 0 {
			pair[0] = names[i]
		}
		pairs = append(pairs, pair)
	}
	if len(pairs) == 0 {
		return nil, record.Failf(record.Usage, "no dataset is given").WithHint("give --dataset NAME=URL, or set DATASET_URLS")
	}
	return pairs, nil
}

// fetchList splits at white space, and at commas where something new begins: a
// URL may hold one.
func fetchList(text string) []string {
	if strings.Contains(text, "://") {
		text = strings.NewReplacer(",http://", " http://", ",https://", " https://").Replace(text)
	} else {
		text = strings.ReplaceAll(text, ",", " ")
	}
	var items []string
	for _, item := range strings.Fields(text) {
		if item = strings.Trim(item, ","); item != "" {
			items = append(items, item)
		}
	}
	return items
}

// expect reads --sha256.
func (s *FetchData) expect(sources []fetch.Source, names map[string]int) error {
	for _, text := range s.SHA256 {
		name, digest, _ := strings.Cut(text, "=")
		i, ok := names[name]
		if !ok {
			return record.Failf(record.Usage, "--sha256 %s: no dataset is called so", name).WithHint("--sha256 is NAME=HEX")
		}
		if err := sources[i].Expect(digest); err != nil {
			return err
		}
	}
	return nil
}

// client makes the client, with the token for its host.
func (s *FetchData) client(j *Job, sources []fetch.Source) (*fetch.Client, error) {
	proxy, err := j.proxy(s.Proxy)
	if err != nil {
		return nil, err
	}
	t, err := repo.NewTransport(s.CAFile, proxy)
	if err != nil {
		return nil, err
	}
	c := &fetch.Client{
		Stall: time.Duration(s.Stall), Retries: s.Retries, FirstWait: s.firstWait,
		// The step's own log is to have every try.
		Log: slog.New(slog.NewTextHandler(j.Out, nil)),
	}
	c.Use(t)
	for _, source := range sources {
		if source.Userinfo != nil && !fetch.MayCarryToken(source.URL) {
			return nil, fetchInClear(source.URL)
		}
	}
	if c.Token, err = j.givenToken("STEP_RUNNER_FETCH_DATA_TOKEN", s.TokenFile); err != nil || c.Token == "" {
		return c, err
	}
	c.TokenFor, err = s.tokenFor(sources)
	return c, err
}

// tokenFor is the URL whose origin the token is for.
func (s *FetchData) tokenFor(sources []fetch.Source) (*url.URL, error) {
	var found *url.URL
	for _, source := range sources {
		u := source.URL
		switch {
		case s.TokenHost != "" && !strings.EqualFold(u.Host, s.TokenHost):
		case found != nil && (u.Host != found.Host || u.Scheme != found.Scheme):
			return nil, record.Failf(record.Usage, "the datasets are on %s and %s, and the token is for one of them", found.Host, u.Host).WithHint("say with --token-host for which")
		default:
			found = u
		}
	}
	if found == nil {
		return nil, record.Failf(record.Usage, "--token-host %s: no dataset is there", s.TokenHost)
	}
	if !fetch.MayCarryToken(found) {
		return nil, fetchInClear(found)
	}
	return found, nil
}

func fetchInClear(u *url.URL) error {
	return record.Failf(record.BadInput, "%s is plain http: a token would be readable on the way, so it is not sent", u.Host).WithHint("use the https URL of the dataset")
}
