package watch

// Classes of XIDs.
const (
	// Application errors come from a program and leave the device usable.
	Application = "application"
	// Fatal ones come from the device or its driver, which must be looked after.
	Fatal = "fatal"
	// Other ones say nothing of whose fault it is, or tell of a recovery.
	Other = "other"
)

// xids are the codes that a run is likely to meet, by NVIDIA's documentation.
var xids = map[uint64]struct{ class, meaning string }{
	13:  {Application, "graphics engine exception: mostly an array out of bounds, or an illegal instruction"},
	31:  {Application, "GPU memory page fault: mostly an illegal address of the program"},
	43:  {Application, "the program's GPU work was stopped after an error of its own"},
	45:  {Application, "the program's GPU work was cleaned up: it was killed, or had an earlier error"},
	68:  {Application, "video decoder exception"},
	109: {Application, "a context switch of the program timed out"},

	48:  {Fatal, "double-bit memory error"},
	61:  {Fatal, "internal micro-controller breakpoint"},
	62:  {Fatal, "internal micro-controller halt"},
	64:  {Fatal, "bad memory could not be put out of use"},
	74:  {Fatal, "NVLink error"},
	79:  {Fatal, "the GPU has fallen off the bus"},
	94:  {Fatal, "memory error that was contained: the programs on it were ended"},
	95:  {Fatal, "memory error that was not contained"},
	119: {Fatal, "the GPU's system processor does not answer"},
	120: {Fatal, "error of the GPU's system processor"},
	140: {Fatal, "memory error that was not recovered"},

	63: {Other, "bad memory was noted, to be put out of use"},
	92: {Other, "many memory errors were corrected"},
}

// classify says what an XID is about.
func classify(code uint64) (class, meaning string) {
	x, ok := xids[code]
	if !ok {
		return Other, ""
	}
	return x.class, x.meaning
}
