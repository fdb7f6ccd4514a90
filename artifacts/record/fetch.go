package record

// FetchFacts says which datasets were fetched and where they lie.
type FetchFacts struct {
	Datasets []Dataset `json:"datasets"`
}

// Dataset is one dataset and how it came.
type Dataset struct {
	Name string `json:"name"`
	// URL has no credentials and no query: that may be a signature.
	URL string `json:"url"`
	// Key is a digest of the whole URL without credentials and signature, and names the
	// directory in cache/datasets.
	Key string `json:"key,omitempty"`
	// Format is "tar", "tar.gz", "tar.zst", "zip" or "plain".
	Format string `json:"format"`
	// Dir is absolute.
	Dir string `json:"dir,omitempty"`
	// Bytes and SHA256 are of the file that was fetched.
	Bytes  int64  `json:"bytes,omitempty"`
	SHA256 string `json:"sha256,omitempty"`
	// ETag and LastModified are the server's words about this version of it.
	ETag         string `json:"etag,omitempty"`
	LastModified string `json:"last_modified,omitempty"`
	// Cached says that the file was in the cache, Kept that Dir was as it should be.
	Cached bool `json:"cached"`
	Kept   bool `json:"kept"`
	// ReceivedBytes came over the network in this attempt, ResumedBytes in earlier ones.
	ReceivedBytes int64 `json:"received_bytes"`
	ResumedBytes  int64 `json:"resumed_bytes,omitempty"`
	// Connections is 1 for a server that gives no ranges.
	Connections int `json:"connections,omitempty"`
	// Retries counts requests that were made again; Restarts downloads that began
	// again because the server's file had changed.
	Retries  int `json:"retries,omitempty"`
	Restarts int `json:"restarts,omitempty"`
	// Seconds is the time of the download.
	Seconds float64 `json:"seconds"`
	// Files and UnpackedBytes count what lies in Dir.
	Files         int   `json:"files,omitempty"`
	UnpackedBytes int64 `json:"unpacked_bytes,omitempty"`
	// Backup is where something in the way was moved.
	Backup string `json:"backup,omitempty"`
}
