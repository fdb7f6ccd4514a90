package fetch

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/step-runner/step-runner/artifacts/record"
)

var testLimits = Limits{Bytes: 1 << 30, Entries: 50, Ratio: 200}

// item is an entry of an archive.
type item struct {
	name, text string
	kind       byte
	link       string
}

func file(name, text string) item    { return item{name: name, text: text, kind: tar.TypeReg} }
func symlink(name, link string) item { return item{name: name, link: link, kind: tar.TypeSymlink} }

func tarOf(t testing.TB, items ...item) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, i := range items {
		h := &tar.Header{Name: i.name, Typeflag: i.kind, Linkname: i.link, Mode: 0o4755, Size: int64(len(i.text))}
		require.NoError(t, w.WriteHeader(h))
		_, err := io.WriteString(w, i.text)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

func gz(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(data)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

func zst(t testing.TB, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	return w.EncodeAll(data, nil)
}

func zipOf(t testing.TB, items ...item) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, i := range items {
		h := &zip.FileHeader{Name: i.name, Method: zip.Deflate}
		switch i.kind {
		case tar.TypeSymlink:
			h.SetMode(fs.ModeSymlink | 0o777)
			i.text = i.link
		case tar.TypeChar:
			h.SetMode(fs.ModeDevice | fs.ModeCharDevice | 0o666)
		}
		f, err := w.CreateHeader(h)
		require.NoError(t, err)
		if !strings.HasSuffix(i.name, "/") {
			_, err = io.WriteString(f, i.text)
			require.NoError(t, err)
		}
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

// unpacked unpacks data into a directory of a directory, and returns the inner one.
func unpacked(t testing.TB, data []byte, format Format, l Limits) (string, error) {
	t.Helper()
	outer := t.TempDir()
	path, dir := filepath.Join(outer, "archive"), filepath.Join(outer, "in", "dir")
	require.NoError(t, os.WriteFile(path, data, 0o600))
	require.NoError(t, os.MkdirAll(dir, 0o755))
	_, err := unpack(context.Background(), path, format, dir, l)
	for _, d := range []string{outer, filepath.Join(outer, "in")} {
		entries, rerr := os.ReadDir(d)
		require.NoError(t, rerr)
		for _, e := range entries {
			require.Contains(t, []string{"archive", "in", "dir"}, e.Name(), "nothing gets out")
		}
	}
	return dir, err
}

func TestUnpackFormats(t *testing.T) {
	items := []item{{name: "./", kind: tar.TypeDir}, {name: "d/", kind: tar.TypeDir}, file("d/a", "one"), file("e/f/b", ""), symlink("l", "d/a"), symlink("e/up", "../d")}
	plain := tarOf(t, append(items, item{name: "h", kind: tar.TypeLink, link: "d/a"})...)
	for format, data := range map[Format][]byte{Tar: plain, TarGz: gz(t, plain), TarZst: zst(t, plain), Zip: zipOf(t, items[1:]...)} {
		t.Run(string(format), func(t *testing.T) {
			dir, err := unpacked(t, data, format, testLimits)
			require.NoError(t, err)
			for _, name := range []string{"d/a", "l", "e/up/a"} {
				b, err := os.ReadFile(filepath.Join(dir, name))
				require.NoError(t, err)
				assert.Equal(t, "one", string(b))
			}
			info, err := os.Stat(filepath.Join(dir, "d/a"))
			require.NoError(t, err)
			assert.Zero(t, info.Mode()&(fs.ModeSetuid|0o002))
			assert.FileExists(t, filepath.Join(dir, "e/f/b"))
			if format != Zip {
				assert.FileExists(t, filepath.Join(dir, "h"))
			}
		})
	}
}

func TestUnpackRefuses(t *testing.T) {
	for name, items := range map[string][]item{
		"up":                     {file("../x", "evil")},
		"up in the middle":       {file("a/../../x", "evil")},
		"absolute":               {file("/tmp/step-runner-evil", "evil")},
		"link up":                {file("a", ""), symlink("l", "..")},
		"link to an absolute":    {file("a", ""), symlink("l", "/etc")},
		"link by a detour":       {file("a/b/c", ""), symlink("a/s", ".."), symlink("l", "a/s/../..")},
		"link to nothing":        {file("a", ""), symlink("l", "nothing")},
		"link in a circle":       {file("a", ""), symlink("l", "m"), symlink("m", "l")},
		"through a link":         {symlink("l", ".."), file("l/x", "evil")},
		"through an absolute":    {symlink("l", "/tmp"), file("l/step-runner-evil", "evil")},
		"over a link":            {symlink("x", "../../archive"), file("x", "evil")},
		"twice":                  {file("x", "1"), file("./x", "2")},
		"a file as directory":    {file("x", "1"), file("x/y", "2")},
		"a device":               {{name: "null", kind: tar.TypeChar}},
		"no file":                {{name: "d/", kind: tar.TypeDir}},
		"too long a name":        {file(strings.Repeat("x", 300), "")},
		"more than can be":       {file("a", strings.Repeat("0", 70<<20))},
		"more entries than many": manyItems(60),
	} {
		plain := tarOf(t, items...)
		for format, data := range map[Format][]byte{TarGz: gz(t, plain), TarZst: zst(t, plain), Zip: zipOf(t, items...)} {
			t.Run(name+" "+string(format), func(t *testing.T) {
				_, err := unpacked(t, data, format, testLimits)
				require.Error(t, err)
				assert.Equal(t, record.DatasetInvalid, record.AsFailure(err).Kind, err)
				assert.NoFileExists(t, "/tmp/step-runner-evil")
			})
		}
	}
}

func manyItems(n int) []item {
	var items []item
	for i := range n {
		items = append(items, file(string(rune('a'+i%26))+strings.Repeat("x", i), ""))
	}
	return items
}

func TestUnpackRefusesSpecialTarEntries(t *testing.T) {
	for name, i := range map[string]item{
		"fifo":               {name: "x", kind: tar.TypeFifo},
		"block device":       {name: "x", kind: tar.TypeBlock},
		"hard link up":       {name: "x", kind: tar.TypeLink, link: "../../archive"},
		"hard link absolute": {name: "x", kind: tar.TypeLink, link: "/etc/passwd"},
		"hard link to none":  {name: "x", kind: tar.TypeLink, link: "none"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := unpacked(t, tarOf(t, file("a", ""), i), Tar, testLimits)
			require.Error(t, err)
			assert.Equal(t, record.DatasetInvalid, record.AsFailure(err).Kind, err)
		})
	}
}

// TestUnpackBomb is a zip whose entry is larger than it says, and the limits.
func TestUnpackBomb(t *testing.T) {
	zeros := strings.Repeat("\x00", 3<<20)
	for format, data := range map[Format][]byte{TarGz: gz(t, tarOf(t, file("a", zeros))), TarZst: zst(t, tarOf(t, file("a", zeros))), Zip: zipOf(t, file("a", zeros))} {
		t.Run(string(format), func(t *testing.T) {
			_, err := unpacked(t, data, format, testLimits)
			require.NoError(t, err)
			_, err = unpacked(t, data, format, Limits{Bytes: 2 << 20, Entries: 10, Ratio: 1e6})
			require.Error(t, err)
			f := record.AsFailure(err)
			assert.Equal(t, record.DatasetInvalid, f.Kind)
			assert.Contains(t, f.Message, "2 MiB")
			assert.Contains(t, f.Hint, "--max-unpacked")
		})
	}
	assert.EqualValues(t, 100<<30, Limits{Bytes: 1 << 40, Ratio: 100}.bound(1<<30))
	assert.EqualValues(t, 1<<30, Limits{Bytes: 1 << 30, Ratio: 100}.bound(1<<30))
	assert.EqualValues(t, ratioFrom, Limits{Bytes: 1 << 30, Ratio: 100}.bound(10))

	lying := zipOf(t, file("a", zeros))
	// The sizes in the central directory: 3 MiB become 1 byte.
	at := bytes.LastIndex(lying, []byte("PK\x01\x02"))
	copy(lying[at+24:], []byte{1, 0, 0, 0})
	_, err := unpacked(t, lying, Zip, Limits{Bytes: 2 << 20, Entries: 10, Ratio: 1e6})
	require.Error(t, err)
	assert.Equal(t, record.DatasetInvalid, record.AsFailure(err).Kind)
}

// TestUnpackDamaged cuts archives short and changes a byte in the data.
func TestUnpackDamaged(t *testing.T) {
	text := strings.Repeat("some text that can be packed, 0123456789\n", 2000)
	plain := tarOf(t, file("a", text), file("b", text[:5000]))
	for format, data := range map[Format][]byte{TarGz: gz(t, plain), TarZst: zst(t, plain), Zip: zipOf(t, file("a", text), file("b", text[:5000]))} {
		for _, cut := range []int{1, 4, 9, len(data) / 2, len(data) - 1} {
			_, err := unpacked(t, data[:len(data)-cut], format, testLimits)
			require.Error(t, err, "%s less %d", format, cut)
			assert.Equal(t, record.DatasetInvalid, record.AsFailure(err).Kind, err)
		}
		changed := bytes.Clone(data)
		changed[len(data)/3] ^= 0x10
		_, err := unpacked(t, changed, format, testLimits)
		require.Error(t, err, format)
		assert.Equal(t, record.DatasetInvalid, record.AsFailure(err).Kind, err)
	}
}

func FuzzUnpack(f *testing.F) {
	plain := tarOf(f, file("a/b", "text"), symlink("l", "a"), item{name: "h", kind: tar.TypeLink, link: "a/b"})
	f.Add(plain, byte(0))
	f.Add(gz(f, plain), byte(1))
	f.Add(zst(f, plain), byte(2))
	f.Add(zipOf(f, file("a/b", "text"), symlink("l", "a")), byte(3))
	f.Add(tarOf(f, symlink("l", ".."), file("l/x", "evil")), byte(0))
	f.Fuzz(func(t *testing.T, data []byte, format byte) {
		formats := []Format{Tar, TarGz, TarZst, Zip}
		dir, err := unpacked(t, data, formats[int(format)%len(formats)], Limits{Bytes: 1 << 20, Entries: 20, Ratio: 1000})
		if err != nil {
			return
		}
		require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type() == fs.ModeSymlink {
				real, err := filepath.EvalSymlinks(path)
				require.NoError(t, err)
				require.True(t, strings.HasPrefix(real+"/", dir+"/"), "%s leads to %s", path, real)
			}
			return err
		}))
	})
}
