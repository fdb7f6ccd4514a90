package fetch

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/step-runner/step-runner/artifacts/record"
)

// version is what a server says about one version of a file.
type version struct {
	// Size is -1 when the server does not say it.
	Size         int64  `json:"size"`
	ETag         string `json:"etag,omitempty"`
	LastModified string `json:"last_modified,omitempty"`
}

func versionOf(res *http.Response, size int64) version {
	return version{size, res.Header.Get("ETag"), res.Header.Get("Last-Modified")}
}

// ifRange is the validator that a server compares byte by byte, "" when there is none.
func (v version) ifRange() string {
	if v.ETag != "" && !strings.HasPrefix(v.ETag, "W/") {
		return v.ETag
	}
	return v.LastModified
}

// known says whether another version could be told from this one.
func (v version) known() bool { return v.Size >= 0 && (v.ETag != "" || v.LastModified != "") }

// head is the first answer about a file.
type head struct {
	version
	// ranges says that the server gives parts of the file.
	ranges bool
	// body is the whole file when it does not. It has to be closed.
	body io.ReadCloser
	// marked says that the end of body can be told from a broken connection.
	marked bool
}

func (h *head) close() {
	if h.body != nil {
		h.body.Close()
	}
}

// newHead reads the answer to a request for the first byte.
func newHead(res *http.Response) (*head, error) {
	if res.StatusCode == http.StatusOK {
		marked := res.ContentLength >= 0 || len(res.TransferEncoding) > 0 || res.ProtoMajor > 1
		return &head{version: versionOf(res, res.ContentLength), body: res.Body, marked: marked}, nil
	}
	defer res.Body.Close()
	_, total, err := contentRange(res)
	if err != nil {
		return nil, err
	}
	return &head{version: versionOf(res, total), ranges: true}, nil
}

var errContentRange = errors.New("the server gives a part of the file but does not say which")

// contentRange reads FIRST and TOTAL of "bytes FIRST-LAST/TOTAL".
func contentRange(res *http.Response) (first, total int64, err error) {
	span, size, ok := strings.Cut(strings.TrimPrefix(res.Header.Get("Content-Range"), "bytes "), "/")
	from, to, ok2 := strings.Cut(span, "-")
	first, err1 := strconv.ParseInt(from, 10, 64)
	last, err2 := strconv.ParseInt(to, 10, 64)
	total, err3 := strconv.ParseInt(size, 10, 64)
	if !ok || !ok2 || errors.Join(err1, err2, err3) != nil || first < 0 || last < first || total <= last {
		return 0, 0, record.Failf(record.FetchFailed, "%w (Content-Range: %q)", errContentRange, res.Header.Get("Content-Range"))
	}
	return first, total, nil
}
