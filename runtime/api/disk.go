package api

// HostDisk is the file system that holds all sandboxes. Sizes are in bytes.
type HostDisk struct {
	Total int64 `json:"total"`
	Free  int64 `json:"free"`
	// Reserve is what sandboxes leave free: below it those that write are
	// frozen and new ones refused. Low says that this is so now.
	Reserve int64 `json:"reserve"`
	Low     bool  `json:"low,omitempty"`
	// Promised is what all quotas together could still take.
	Promised int64 `json:"promised"`
}
