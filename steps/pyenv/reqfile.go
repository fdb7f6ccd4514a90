package pyenv

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// requirementsName are the requirements files that are read when pyproject.toml
// names no dependency.
var requirementsName = regexp.MustCompile(`^(requirements([-_.](tests?|testing|dev))?|(tests?|dev)[-_.]requirements)\.txt$`)

// requirementsFiles are the requirements files of the project, relative to it.
func (p *Project) requirementsFiles() []string {
	var files []string
	for _, dir := range []string{".", "requirements"} {
		entries, _ := os.ReadDir(filepath.Join(p.Dir, dir))
		for _, e := range entries {
			name := e.Name()
			if e.Type().IsRegular() && (requirementsName.MatchString(name) || (dir != "." && slices.Contains(testNames, strings.TrimSuffix(name, ".txt")))) {
				files = append(files, filepath.Join(dir, name))
			}
		}
	}
	return files
}

// requirementsFile is what one requirements file refers to.
type requirementsFile struct {
	// files are other requirements and constraints files, relative to this one.
	files []string
	// local are packages in directories, relative to the project.
	local []local
}

var (
	comment  = regexp.MustCompile(`(^|\s)#.*$`)
	fileFlag = regexp.MustCompile(`^(?:-[rc]|--requirement|--constraint)[ \t=]*(.+)$`)
	editFlag = regexp.MustCompile(`^(?:-e|--editable)[ \t=]*(.+)$`)
	extrasOf = regexp.MustCompile(`\[[^]]*\]$`)
)

// scanRequirements reads a requirements file for what it refers to in the project.
func scanRequirements(text string) requirementsFile {
	var f requirementsFile
	for _, line := range strings.Split(strings.ReplaceAll(text, "\\\n", " "), "\n") {
		line = strings.TrimSpace(comment.ReplaceAllString(line, ""))
		line, _, _ = strings.Cut(line, " --")
		line, _, _ = strings.Cut(line, " ;")
		editable := false
		if m := fileFlag.FindStringSubmatch(line); m != nil {
			f.files = append(f.files, strings.Trim(m[1], `"'`))
			continue
		}
		if m := editFlag.FindStringSubmatch(line); m != nil {
			line, editable = m[1], true
		}
		if path, ok := localPath(strings.TrimSpace(line)); ok || (editable && !strings.Contains(line, ":")) {
			f.local = append(f.local, local{path: path, editable: editable})
		}
	}
	return f
}

// localPath is the path in a requirement, and whether it must be one.
func localPath(r string) (string, bool) {
	if _, url, ok := strings.Cut(r, " @ "); ok {
		r = strings.TrimSpace(url)
	}
	path, isFile := strings.CutPrefix(r, "file:")
	if !isFile && !strings.HasPrefix(r, ".") && !strings.HasPrefix(r, "/") && !(strings.Contains(r, "/") && !strings.Contains(r, ":")) {
		return extrasOf.ReplaceAllString(r, ""), false
	}
	path, _, _ = strings.Cut(strings.TrimPrefix(path, "//"), "#")
	return extrasOf.ReplaceAllString(path, ""), true
}
