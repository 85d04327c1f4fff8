namespace LsmFs.Engine

/// The protocol that clients of a listener may speak: memcached's `-B`, and `proto[...]` of its `-l`.
type BindingProtocol =
    /// Whichever the first byte of a connection begins.
    | Negotiating = 0uy
    /// The text protocol, meta commands included.
    | Ascii = 1uy
    | Binary = 2uy
