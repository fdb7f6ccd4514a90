package repo

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"

	"github.com/step-runner/step-runner/artifacts/record"
)

// rootCAs are the system's root certificates and those in path: a file in PEM, or a
// directory of such files. A directory may be empty, as a volume of an optional
// ConfigMap is.
func rootCAs(path string) (*x509.CertPool, error) {
	files, err := pemFiles(path)
	if err != nil {
		return nil, record.Failf(record.BadInput, "--ca-file: %w", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	for _, file := range files {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, record.Failf(record.BadInput, "--ca-file: %w", err)
		}
		if !roots.AppendCertsFromPEM(pem) {
			return nil, record.Failf(record.BadInput, "--ca-file %s has no certificate in PEM", file)
		}
	}
	return roots, nil
}

// pemFiles is path, or the files in it. Kubernetes keeps what a volume shows in
// directories whose names start with "..".
func pemFiles(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "..") {
			files = append(files, filepath.Join(path, e.Name()))
		}
	}
	return files, nil
}
