package steps

// Notebooks says which notebooks papermill runs and nbconvert renders. Both take
// it in the same words.
type Notebooks struct {
	Paths    []string `arg:"" optional:"" name:"notebook" help:"Notebooks to run, in this order: relative to the clone of step 2 when the run has one, else to the current directory. Default: --notebook-filename in --notebook-dir."`
	Dir      string   `name:"notebook-dir" shared:"" seed:"NOTEBOOK_RELATIVED_DIR" default:"notebooks" help:"Directory of the notebook, relative to the clone." placeholder:"DIR"`
	Filename string   `name:"notebook-filename" shared:"" seed:"NOTEBOOK_FILENAME" default:"01_scRNA_analysis_preprocessing.ipynb" help:"File name of the notebook." placeholder:"FILE"`
}
