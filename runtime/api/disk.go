package api

// HostDisk is the file system that holds all sandboxes. Sizes are in bytes.
type HostDisk struct {
	Total int64 `json:"total"`
	Free  int64 `json:"free"`
	// Inodes are how many files it can have, InodesFree how many more; 0 where it
	// makes them as they are needed. The part of them that Reserve is of Total is
	// kept free too.
	Inodes     int64 `json:"inodes,omitempty"`
	InodesFree int64 `json:"inodes_free,omitempty"`
	// Reserve is what sandboxes leave free: below it those that write are
	// frozen and new ones refused. Low says that this is so now.
	Reserve int64 `json:"reserve"`
	Low     bool  `json:"low,omitempty"`
	// Promised is what all quotas together could still take.
	Promised int64 `json:"promised"`
}
