package pyenv

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
)

// pep621 begins a project as PEP 621 writes it.
const pep621 = "[project]\nname = \"p\"\nversion = \"1\"\n"

var needsOf = map[string]struct {
	files          map[string]string
	groups, extras []string
	// want are the lines; "-e DIR" and "DIR" are local ones, "-r FILE" files.
	want string
}{
	"PEP 621": {
		files: map[string]string{"pyproject.toml": pep621 + `dependencies = ["alpha>=1", "beta (>=0.1,<2) ; python_version > '3'", "x @ https://e.org/x-(1).whl"]`},
		want:  "alpha>=1|beta >=0.1,<2 ; python_version > '3'|x @ https://e.org/x-(1).whl",
	},
	"extras and groups for tests by themselves": {
		files: map[string]string{"pyproject.toml": pep621 + `dependencies = ["a"]
[project.optional-dependencies]
Test = ["b"]
docs = ["sphinx"]
[dependency-groups]
dev = ["c", {include-group = "Type_Check"}]
type-check = ["mypy"]
lint = ["ruff"]`},
		want: "b|a|c|mypy",
	},
	"named extras and groups": {
		files: map[string]string{"pyproject.toml": pep621 + `[project.optional-dependencies]
test = ["b"]
docs = ["sphinx"]
[dependency-groups]
dev = ["c"]
lint = ["ruff"]`},
		groups: []string{"LINT"}, extras: []string{"docs"}, want: "sphinx|ruff",
	},
	"Poetry": {
		files: map[string]string{"pyproject.toml": `[tool.poetry]
[tool.poetry.dependencies]
python = "^3.9"
caret = "^1.2"
table = { version = "~0.3", extras = ["x", "y"], markers = "sys_platform != 'win32'" }
bare = { extras = ["z"] }
old = { version = "*", python = "<3.9" }
new = { version = "*", python = "^3.10" }
windows = { version = "*", platform = "win32" }
many = [{ version = "<2", python = "<3.11" }, { version = ">=2", python = ">=3.11" }]
either = "^1 || ^2"
git1 = { git = "https://e.org/r.git", tag = "v1", subdirectory = "s" }
git2 = { git = "git@e.org:o/r.git" }
archive = { url = "https://e.org/a.whl" }
maybe = { version = "1", optional = true }
[tool.poetry.dev-dependencies]
dev = "1"
[tool.poetry.group.test.dependencies]
test = "*"
[tool.poetry.group.docs]
optional = true
[tool.poetry.group.docs.dependencies]
docs = "*"
[tool.poetry.extras]
more = ["maybe"]`},
		want: "archive @ https://e.org/a.whl|bare[z]|caret>=1.2,<2|either>=1,<3|git1 @ git+https://e.org/r.git@v1#subdirectory=s|git2 @ git+ssh://git@e.org/o/r.git|" +
			"many>=2|new|table[x,y]>=0.3,<0.4 ; sys_platform != 'win32'|dev==1|test",
	},
	"Poetry, optional": {
		files: map[string]string{"pyproject.toml": `[tool.poetry.dependencies]
maybe = { version = "1", optional = true }
[tool.poetry.group.docs]
optional = true
[tool.poetry.group.docs.dependencies]
docs = "*"
[tool.poetry.extras]
more = ["maybe"]`},
		groups: []string{"docs"}, extras: []string{"more"}, want: "maybe==1|docs",
	},
	"Poetry beside PEP 621": {
		files: map[string]string{"pyproject.toml": pep621 + `dependencies = ["sub", "alpha>=1"]
[tool.poetry.dependencies]
sub = { path = "sub", develop = true }
alpha = { source = "x" }
[dependency-groups]
any = ["beta"]`, "sub/pyproject.toml": ""},
		want: "alpha>=1|beta|-e sub",
	},
	"paths": {
		files: map[string]string{"pyproject.toml": `[tool.poetry.dependencies]
in-place = { path = "libs/a", develop = true, extras = ["e"] }
baked = { path = "libs/b" }
wheel = { path = "libs/c.whl" }
[tool.poetry.group.dev.dependencies]
in-place = { path = "libs/a", develop = true }`, "libs/a/pyproject.toml": "", "libs/b/pyproject.toml": "", "libs/c.whl": ""},
		want: "libs/b|-e libs/a[e]|libs/c.whl",
	},
	"uv": {
		files: map[string]string{"pyproject.toml": pep621 + `dependencies = ["member", "path", "plain", "repo"]
[tool.uv]
dev-dependencies = ["pytest"]
[tool.uv.workspace]
members = ["packages/*"]
[tool.uv.sources]
member = { workspace = true }
path = { path = "p", editable = true }
repo = { git = "https://e.org/r", rev = "abc" }
plain = { index = "x" }`, "packages/m/pyproject.toml": "[project]\nname = \"Member\"\nversion = \"1\"\n", "packages/n/pyproject.toml": "", "p/pyproject.toml": ""},
		want: "plain|repo @ git+https://e.org/r@abc|pytest|-e packages/m|-e p",
	},
	"requirements files": {
		files: map[string]string{
			"requirements.txt": "a", "requirements-test.txt": "b", "dev-requirements.txt": "c", "requirements-gpu.txt": "d", "requirements/tests.txt": "e",
			"requirements/prod.txt": "f", "pyproject.toml": "[tool.pytest.ini_options]\naddopts = ''\n",
		},
		want: "-r dev-requirements.txt|-r requirements-test.txt|-r requirements.txt|-r requirements/tests.txt",
	},
	"requirements files beside dependencies": {
		files: map[string]string{"requirements.txt": "a", "pyproject.toml": pep621 + "dependencies = ['b']"}, want: "b",
	},
	"nothing": {files: map[string]string{}, want: ""},
}

func TestNeeds(t *testing.T) {
	for name, c := range needsOf {
		t.Run(name, func(t *testing.T) {
			p := project(t, c.files)
			n, err := p.needs("3.11.7", c.groups, c.extras)
			require.NoError(t, err)
			got := n.lines
			for _, l := range n.local {
				got = append(got, strings.ReplaceAll(strings.Join(l.args(), " "), "--editable", "-e"))
			}
			for _, f := range n.files {
				got = append(got, "-r "+f)
			}
			assert.Equal(t, c.want, strings.ReplaceAll(strings.Join(got, "|"), p.Dir+"/", ""))
		})
	}
}

func TestNeedsFail(t *testing.T) {
	for text, message := range map[string]string{
		"[tool.poetry.dependencies]\na = \"latest\"":                                 `[tool.poetry.dependencies]: a: version "latest"`,
		"[tool.poetry.dependencies]\na = 3":                                          "a is 3",
		"[tool.poetry.dependencies]\na = { path = \"../other\" }":                    "../other lies outside the test repository",
		"[tool.poetry.dependencies]\na = { path = \"gone\" }":                        "gone is not there",
		"[tool.poetry.group.x.dependencies]\na = \"!\"":                              "[tool.poetry.group.x.dependencies]",
		pep621 + "dependencies = [\"!\"]":                                            `"!" is no requirement`,
		pep621 + "[dependency-groups]\ndev = [{include-group = \"gone\"}]":           `dev includes "gone"`,
		pep621 + "[dependency-groups]\ndev = [3]":                                    "dependency group dev holds 3",
		pep621 + "[dependency-groups]\ndev = [{include-group = \"dev\"}]":            "dev includes itself",
		pep621 + "dependencies = [\"a\"]\n[tool.uv.sources]\na = {workspace = true}": "a is no member of the uv workspace",
	} {
		_, err := project(t, map[string]string{"pyproject.toml": text}).needs("3.11.7", nil, nil)
		require.ErrorContains(t, err, message, text)
		assert.Equal(t, record.TestEnvFailed, record.AsFailure(err).Kind, text)
	}
	p := project(t, map[string]string{"pyproject.toml": pep621 + "[dependency-groups]\nlint = []\n"})
	_, err := p.needs("3.11.7", []string{"docs"}, nil)
	assert.ErrorContains(t, err, `no dependency group "docs"; it has lint`)
	assert.Equal(t, record.BadInput, record.AsFailure(err).Kind)
	_, err = p.needs("3.11.7", nil, []string{"docs"})
	assert.ErrorContains(t, err, `no extra "docs"; it has none`)
}

// A link in the repository must not make a package of what lies outside.
func TestLocalPackageBehindALink(t *testing.T) {
	p := project(t, map[string]string{"pyproject.toml": "[tool.poetry.dependencies]\na = { path = \"link\", develop = true }"})
	require.NoError(t, os.Symlink(t.TempDir(), filepath.Join(p.Dir, "link")))
	_, err := p.needs("3.11.7", nil, nil)
	assert.ErrorContains(t, err, "lies outside")
}

func TestProject(t *testing.T) {
	for text, want := range map[string][3]bool{ // Poetry, a package, dynamic dependencies
		"":                                     {false, false, false},
		pep621:                                 {false, false, false},
		pep621 + "[build-system]\nrequires=[]": {false, true, false},
		"[tool.poetry]\nname = 'x'\n":          {true, false, false},
		"[tool.poetry]\npackage-mode = true":   {true, true, false},
		"[tool.poetry]\npackage-mode = false\n[build-system]\nbuild-backend='poetry.core.masonry.api'": {true, false, false},
		pep621 + "[build-system]\nbuild-backend='poetry.core.masonry.api'":                             {true, true, false},
		pep621 + "dynamic=['dependencies']\n[build-system]\nbuild-backend='setuptools.build_meta'":     {false, true, true},
		pep621 + "[build-system]\nrequires=[]\n[tool.uv]\npackage=false":                               {false, false, false},
	} {
		p := project(t, map[string]string{"pyproject.toml": text})
		assert.Equal(t, want, [3]bool{p.Poetry, p.isPackage(), p.dynamic()}, text)
	}
	assert.True(t, project(t, map[string]string{"poetry.lock": ""}).Poetry)
	p := project(t, map[string]string{"setup.py": ""})
	assert.Equal(t, [3]bool{false, true, true}, [3]bool{p.Poetry, p.isPackage(), p.dynamic()})
}

func TestProjectUnreadable(t *testing.T) {
	for text, message := range map[string]string{
		"[project]\nname = \"a\nversion = 1\n": "pyproject.toml line 2, column",
		"[project\n":                           "pyproject.toml line 1, column",
		"[project]\ndependencies = \"a\"\n":    "pyproject.toml line 2, column",
		"a = 1\na = 2\n":                       "pyproject.toml",
		"\xff\xfe":                             "pyproject.toml line 1",
	} {
		dir := t.TempDir()
		write(t, dir, map[string]string{"pyproject.toml": text})
		_, err := LoadProject(dir, record.TestEnvFailed)
		require.ErrorContains(t, err, message, text)
		assert.Equal(t, record.TestEnvFailed, record.AsFailure(err).Kind)
	}
}

func TestCheckPython(t *testing.T) {
	for text, fits := range map[string]bool{
		"": true,
		pep621 + "requires-python = \">=3.10,<4\"":                                            true,
		pep621 + "requires-python = \">=3.12\"":                                               false,
		pep621 + "requires-python = \"~=3.10\"\n[tool.poetry.dependencies]\npython=\"^3.12\"": false,
		"[tool.poetry.dependencies]\npython = \"^3.9 || ^2.7\"":                               true,
		"[tool.poetry.dependencies]\npython = \"~3.9\"":                                       false,
		pep621 + "requires-python = \"three\"":                                                false,
	} {
		err := project(t, map[string]string{"pyproject.toml": text}).CheckPython("3.11.7", "/usr/bin/python3")
		if fits {
			assert.NoError(t, err, text)
		} else {
			require.Error(t, err, text)
			assert.Equal(t, record.TestEnvFailed, record.AsFailure(err).Kind)
		}
	}
}

func TestCoverageSource(t *testing.T) {
	for name, text := range map[string]string{
		"pyproject.toml": "[tool.coverage.run]\nsource_pkgs = [\"a\"]\n", ".coveragerc": "[run]\nsource =\n  a\n",
		"setup.cfg": "[metadata]\n[coverage:run]\nsource = a\n", "tox.ini": "[coverage:run]\nsource_pkgs=a\n",
	} {
		assert.True(t, project(t, map[string]string{name: text}).CoverageSource(), name)
	}
	for name, text := range map[string]string{
		"pyproject.toml": "[tool.coverage.run]\nbranch = true\n", ".coveragerc": "[report]\nsource = a\n[run]\nbranch = True\n", "setup.cfg": "[run]\nsource = a\n",
	} {
		assert.False(t, project(t, map[string]string{name: text}).CoverageSource(), name)
	}
}

func TestLockConstraints(t *testing.T) {
	for name, c := range map[string]struct{ file, text, want string }{
		"poetry": {"poetry.lock", `
[[package]]
name = "Alpha_X"
version = "1.2"
markers = "python_version > '3'"
[[package]]
name = "sub"
version = "0.1"
[package.source]
type = "directory"
url = "sub"
[[package]]
name = "priv"
version = "3"
[package.source]
type = "legacy"
url = "https://e.org/simple"
[[package]]
name = "numpy"
version = "1.0"
markers = "python_version < '3.10'"
[[package]]
name = "numpy"
version = "2.0"
markers = "python_version >= '3.10'"
[[package]]
name = "twice"
version = "1"
markers = {main = "a", dev = "b"}
[[package]]
name = "twice"
version = "2"
`, "alpha-x==1.2\npriv==3\nnumpy==1.0 ; python_version < '3.10'\nnumpy==2.0 ; python_version >= '3.10'\n"},
		"uv": {"uv.lock", `
version = 1
[[package]]
name = "alpha"
version = "1.0"
source = { registry = "https://pypi.org/simple" }
[[package]]
name = "me"
version = "0.1"
source = { editable = "." }
[[package]]
name = "b"
version = "1"
source = { registry = "x" }
resolution-markers = ["a == 'x'", "c == 'd'"]
[[package]]
name = "b"
version = "2"
source = { registry = "x" }
`, "alpha==1.0\nb==1 ; (a == 'x') or (c == 'd')\n"},
		"PEP 751": {"pylock.toml", "lock-version = '1.0'\n[[packages]]\nname = 'a'\nversion = '1'\nmarker = 'x'\n", "a==1\n"},
		"none":    {"other.lock", "", ""},
	} {
		got, err := project(t, map[string]string{c.file: c.text}).lockConstraints()
		require.NoError(t, err, name)
		assert.Equal(t, c.want, got, name)
	}
	_, err := project(t, map[string]string{"poetry.lock": "<<<<<<< HEAD\n"}).lockConstraints()
	assert.ErrorContains(t, err, "poetry.lock line 1")
}

func TestScanRequirements(t *testing.T) {
	f := scanRequirements(`
a==1  # a comment with -r x
-r other.txt
--constraint=c.txt
-c "d.txt"
-e ./sub[extra] # here
--editable sub2
./plain ; python_version > '3'
dir/wheel.whl --hash=sha256:00
name @ file:./thing#egg=x
git+https://e.org/r.git
https://e.org/x.whl
--index-url https://e.org/simple
b \
  ==2
`)
	assert.Equal(t, []string{"other.txt", "c.txt", "d.txt"}, f.files)
	assert.Equal(t, []local{{path: "./sub", editable: true}, {path: "sub2", editable: true}, {path: "./plain"}, {path: "dir/wheel.whl"}, {path: "./thing"}}, f.local)
}

func FuzzScanRequirements(f *testing.F) {
	f.Add("-e ./a[b] # c\n-r x\nname @ file:///y#z\n")
	f.Fuzz(func(t *testing.T, text string) { scanRequirements(text) })
}

func FuzzProject(f *testing.F) {
	for _, c := range needsOf {
		f.Add(c.files["pyproject.toml"], c.files["requirements.txt"])
	}
	f.Fuzz(func(t *testing.T, toml, requirements string) {
		dir := t.TempDir()
		write(t, dir, map[string]string{"pyproject.toml": toml, "requirements.txt": requirements, "poetry.lock": toml})
		p, err := LoadProject(dir, record.TestEnvFailed)
		if err != nil {
			return
		}
		_, _ = p.lockConstraints()
		n, err := p.needs("3.11.7", nil, nil)
		if err != nil {
			return
		}
		for _, l := range n.local {
			require.True(t, strings.HasPrefix(l.path, p.Dir), l.path)
		}
		_, _ = p.fingerprint(n, "3.11.7")
	})
}
