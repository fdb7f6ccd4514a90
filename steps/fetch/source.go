// Package fetch brings files from HTTP servers into a cache and from there to
// where they are used: in parallel ranges that are hashed while they are written,
// resumed after a kill, and unpacked with care.
package fetch

import (
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/step-runner/step-runner/artifacts/record"
	"github.com/step-runner/step-runner/steps/redact"
)

// Format is what becomes of a dataset's file.
type Format string

// The formats. A plain file is put in its place as it is.
const (
	Tar    Format = "tar"
	TarGz  Format = "tar.gz"
	TarZst Format = "tar.zst"
	Zip    Format = "zip"
	Plain  Format = "plain"
)

var suffixes = []struct {
	suffix string
	format Format
}{{".tar.gz", TarGz}, {".tgz", TarGz}, {".tar.zst", TarZst}, {".tzst", TarZst}, {".tar", Tar}, {".zip", Zip}}

// Source is one dataset to fetch.
type Source struct {
	Name string
	URL  *url.URL
	// Userinfo are the credentials that stood in the URL, nil when there were none.
	Userinfo *url.Userinfo
	// SHA256 is the digest that it must have, in hexadecimal, "" when not known.
	SHA256 string
	Format Format
	// File is the name of a plain file in the dataset's directory.
	File string
}

var (
	nameRule   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)
	digestRule = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// ParseSource reads the URL of a dataset. Its fragment, which no server sees, may
// say sha256=HEX, format=FORMAT and file=NAME. With no name it is that of the
// file, without its suffix.
func ParseSource(name, text string) (Source, error) {
	u, err := url.Parse(strings.TrimSpace(text))
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return Source{}, record.Failf(record.BadInput, "dataset %s: not an http or https URL", name)
	}
	options, err := url.ParseQuery(u.Fragment)
	if err != nil {
		return Source{}, record.Failf(record.BadInput, "dataset %s: what follows # in the URL cannot be read", name)
	}
	s := Source{Name: name, URL: u, Userinfo: u.User, File: path.Base(u.Path), Format: Plain}
	u.User, u.Fragment, u.RawFragment = nil, "", ""
	stem := s.readFormat()
	if s.Name == "" {
		s.Name = strings.TrimSuffix(stem, path.Ext(stem))
	}
	return s, s.apply(options)
}

// readFormat takes the format from the file's name and returns the rest of that.
func (s *Source) readFormat() string {
	for _, f := range suffixes {
		if len(s.File) > len(f.suffix) && strings.EqualFold(s.File[len(s.File)-len(f.suffix):], f.suffix) {
			s.Format = f.format
			return s.File[:len(s.File)-len(f.suffix)]
		}
	}
	return s.File
}

func (s *Source) apply(options url.Values) error {
	for key := range options {
		switch value := options.Get(key); key {
		case "sha256":
			if err := s.Expect(value); err != nil {
				return err
			}
		case "format":
			s.Format = Format(value)
		case "file":
			s.File = value
		default:
			return record.Failf(record.BadInput, "dataset %s: #%s is not known", s.Name, key).WithHint("after # there may be sha256=, format= and file=, with & between them")
		}
	}
	if !slices.Contains([]Format{Tar, TarGz, TarZst, Zip, Plain}, s.Format) {
		return record.Failf(record.BadInput, "dataset %s: no format %q", s.Name, s.Format).WithHint("formats are tar, tar.gz, tar.zst, zip and plain")
	}
	if !nameRule.MatchString(s.Name) {
		return record.Failf(record.BadInput, "dataset name %q: a name has up to 100 letters, digits, '.', '_' and '-', and starts with a letter or digit", s.Name)
	}
	if s.Format == Plain && !nameRule.MatchString(s.File) {
		return record.Failf(record.BadInput, "dataset %s: %q is no file name to use", s.Name, s.File).WithHint("say how the file is to be called: URL#file=NAME")
	}
	return nil
}

// Expect sets the digest that the dataset must have.
func (s *Source) Expect(hexDigest string) error {
	hexDigest = strings.ToLower(strings.TrimSpace(hexDigest))
	if !digestRule.MatchString(hexDigest) {
		return record.Failf(record.BadInput, "dataset %s: a sha256 has 64 hexadecimal digits", s.Name)
	}
	if s.SHA256 != "" && s.SHA256 != hexDigest {
		return record.Failf(record.BadInput, "dataset %s: two digests are given", s.Name)
	}
	s.SHA256 = hexDigest
	return nil
}

// String is the URL without its query, which may hold a signature.
func (s Source) String() string { return bare(s.URL) }

func bare(u *url.URL) string {
	c := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}
	return c.String()
}

// signed are the parts of a query that differ each time a URL is signed, in lower case.
var signed = []string{"signature", "expires", "policy", "key-pair-id", "awsaccesskeyid", "googleaccessid", "token", "sig", "se", "st", "sp", "sv", "sr", "spr", "skoid", "sktid", "skt", "ske", "sks", "skv"}

// Key is equal for URLs of one file: how it was signed makes no difference.
func (s Source) Key() string {
	q := s.URL.Query()
	for name := range q {
		if signs(name) {
			q.Del(name)
		}
	}
	sum := sha256.Sum256([]byte(s.String() + "?" + q.Encode()))
	return hex.EncodeToString(sum[:16])
}

func signs(name string) bool {
	name = strings.ToLower(name)
	return slices.Contains(signed, name) || strings.HasPrefix(name, "x-amz-") || strings.HasPrefix(name, "x-goog-")
}

// Secrets are the parts of the URL that nobody should read.
func (s Source) Secrets() []string {
	var all []string
	if s.Userinfo != nil {
		password, _ := s.Userinfo.Password()
		all = append(all, password)
		if len(s.Userinfo.Username()) >= 16 {
			all = append(all, s.Userinfo.Username())
		}
	}
	return append(all, QuerySecrets(s.URL)...)
}

var secretName = regexp.MustCompile(`(?i)sig|token|key|secret|cred|auth|passw|policy`)

// QuerySecrets are the values in the query of u that give access: signatures,
// tokens and the like.
func QuerySecrets(u *url.URL) []string {
	var all []string
	for name, values := range u.Query() {
		for _, v := range values {
			if secretName.MatchString(name) && len(v) >= 8 {
				all = append(all, v)
			}
		}
	}
	return all
}

var (
	address  = regexp.MustCompile(`[A-Za-z][A-Za-z0-9+.-]*://[^\s"'<>]+`)
	userinfo = regexp.MustCompile(`://[^/?#]*@`)
	argument = regexp.MustCompile(`([?&])([^=&#]*)=[^&#]*`)
)

// Unsigned is a text without what gives access in the URLs in it: credentials before the
// host, and, masked, the values in the query that sign or that are secrets by their names.
func Unsigned(text string) string {
	return address.ReplaceAllStringFunc(text, func(u string) string {
		return argument.ReplaceAllStringFunc(userinfo.ReplaceAllString(u, "://"), func(arg string) string {
			m := argument.FindStringSubmatch(arg)
			if name, err := url.QueryUnescape(m[2]); err == nil && !signs(name) && !secretName.MatchString(name) {
				return arg
			}
			return m[1] + m[2] + "=" + redact.Mask
		})
	})
}

// MayCarryToken says whether a token is safe on the way to u: over TLS, or to this
// machine itself.
func MayCarryToken(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "https" || u.Hostname() == "localhost" || (ip != nil && ip.IsLoopback())
}

// sameOrigin says whether both have one scheme, host and port.
func sameOrigin(a, b *url.URL) bool {
	return strings.EqualFold(a.Scheme, b.Scheme) && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

func port(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case strings.EqualFold(u.Scheme, "https"):
		return "443"
	}
	return "80"
}
