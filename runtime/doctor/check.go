package doctor

// Check is one thing that this machine was tried for.
type Check struct {
	Name string
	OK   bool
	// Detail is a version, a place, or why not.
	Detail string
}
