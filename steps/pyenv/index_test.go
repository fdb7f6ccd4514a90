package pyenv

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// wheel is a package that the test index offers.
type wheel struct {
	name, version string
	requires      []string
}

// module is how the package is imported; it says its version.
func (w wheel) module() string { return strings.ReplaceAll(w.name, "-", "_") }

func (w wheel) file() string { return fmt.Sprintf("%s-%s-py3-none-any.whl", w.module(), w.version) }

func (w wheel) bytes(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	info := fmt.Sprintf("%s-%s.dist-info/", w.module(), w.version)
	meta := fmt.Sprintf("Metadata-Version: 2.1\nName: %s\nVersion: %s\n", w.name, w.version)
	for _, r := range w.requires {
		meta += "Requires-Dist: " + r + "\n"
	}
	files := [][2]string{
		{w.module() + ".py", fmt.Sprintf("version = %q\n", w.version)},
		{info + "METADATA", meta},
		{info + "WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
	}
	record := info + "RECORD,,\n"
	for _, f := range files {
		sum := sha256.Sum256([]byte(f[1]))
		record += fmt.Sprintf("%s,sha256=%s,%d\n", f[0], base64.RawURLEncoding.EncodeToString(sum[:]), len(f[1]))
	}
	for _, f := range append(files, [2]string{info + "RECORD", record}) {
		part, err := z.Create(f[0])
		require.NoError(t, err)
		_, err = part.Write([]byte(f[1]))
		require.NoError(t, err)
	}
	require.NoError(t, z.Close())
	return b.Bytes()
}

// index serves wheels as a package index does (PEP 503), and returns its URL.
func index(t *testing.T, wheels ...wheel) string {
	t.Helper()
	pages, files := map[string]string{}, map[string][]byte{}
	for _, w := range wheels {
		b := w.bytes(t)
		files[w.file()] = b
		pages[Normalise(w.name)] += fmt.Sprintf("<a href=\"/files/%s#sha256=%s\">%s</a>\n", w.file(), digest(b), w.file())
	}
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		part := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
		page, ok := pages[part[len(part)-1]]
		file, isFile := files[part[len(part)-1]]
		switch {
		case isFile:
			_, _ = rw.Write(file)
		case ok:
			rw.Header().Set("Content-Type", "text/html")
			fmt.Fprintf(rw, "<!DOCTYPE html><html><body>%s</body></html>", page)
		default:
			http.NotFound(rw, r)
		}
	}))
	t.Cleanup(srv.Close)
	return srv.URL + "/simple/"
}

// usual are stand-ins for what every environment of tests gets.
var usual = []wheel{
	{name: "pytest", version: "8.0"},
	{name: "pytest", version: "9.0"},
	{name: "pytest-cov", version: "7.0", requires: []string{"pytest>=8", "coverage"}},
	{name: "coverage", version: "7.5"},
	{name: "alpha", version: "1.0"},
	{name: "alpha", version: "1.2"},
	{name: "alpha", version: "2.0", requires: []string{"beta"}},
	{name: "gamma", version: "3.0"},
	{name: "beta", version: "0.1"},
	{name: "beta", version: "0.2"},
	{name: "pytest-wants-alpha2", version: "1.0", requires: []string{"pytest", "alpha>=2"}},
}

// backend is a build backend that needs nothing: pointing is all that it does.
const backend = `
import base64, hashlib, os, zipfile
def get_requires_for_build_editable(config_settings=None): return []
def get_requires_for_build_wheel(config_settings=None): return []
def _wheel(directory, files):
    name = "sub-1.0-py3-none-any.whl"
    info = "sub-1.0.dist-info/"
    files = dict(files)
    files[info + "METADATA"] = "Metadata-Version: 2.1\nName: sub\nVersion: 1.0\nRequires-Dist: beta\n"
    files[info + "WHEEL"] = "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[info + "entry_points.txt"] = "[console_scripts]\nsub = sub:main\n"
    def line(f, text):
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        return f"{f},sha256={digest},{len(text)}\n"
    files[info + "RECORD"] = "".join(line(*f) for f in files.items()) + info + "RECORD,,\n"
    with zipfile.ZipFile(os.path.join(directory, name), "w") as z:
        for f, text in files.items(): z.writestr(f, text)
    return name
def build_editable(directory, config_settings=None, metadata_directory=None):
    return _wheel(directory, {"sub.pth": os.path.abspath("src") + "\n"})
def build_wheel(directory, config_settings=None, metadata_directory=None):
    return _wheel(directory, {"sub.py": open("src/sub.py").read()})
`

// subPackage is a package in the directory sub of a project.
func subPackage(files map[string]string) map[string]string {
	files["sub/pyproject.toml"] = "[project]\nname = \"sub\"\nversion = \"1.0\"\ndependencies = [\"beta\"]\n[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n"
	files["sub/backend.py"] = backend
	files["sub/src/sub.py"] = "def where(): return __file__\ndef main(): print('sub runs from', __file__)\n"
	return files
}
