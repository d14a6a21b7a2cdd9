// Package gpu finds the machine's GPUs, decides which of them a sandbox gets,
// and prepares them for it.
//
// GPUs are found by CDI specifications (CNCF container device interface) in
// directories that nobody but root can change; where those describe none of a
// vendor's, NVIDIA's are found with nvidia-ctk or, without it, by the driver's
// own files, and AMD's by the kernel's. The directories are read anew each time
// somebody asks: drivers are loaded and specifications written while a daemon
// runs.
//
// Nothing of a specification is taken on trust but its being root's. What a
// sandbox gets are device nodes of its own, made for its user namespace, its
// bind mounts, read-only, and the hooks that a runtime runs inside of it.
package gpu
