namespace LsmFs.Engine

/// The protocol that clients of a listener may speak: memcached's `-B`, and `proto[...]` of its `-l`.
type BindingProtocol =
    /// Whichever the first byte of a connection begins.
    | Negotiating = 0uy
    /// The text protocol, meta commands included.
    | Ascii = 1uy
    | Binary = 2uy

/// What a connection speaks.
[<RequireQualifiedAccess>]
module BindingProtocol =

    /// The first byte of every request of the binary protocol, and of no command of the text protocol.
    [<Literal>]
    let binaryMagic = 0x80uy

    /// Whether a connection whose first byte is this one speaks the binary protocol, to its end.
    let isBinary (protocol: BindingProtocol) (firstByte: byte) : bool =
        protocol = BindingProtocol.Binary
        || (protocol = BindingProtocol.Negotiating && firstByte = binaryMagic)

    /// What `stats settings` calls it.
    let name (protocol: BindingProtocol) : string =
        match protocol with
        | BindingProtocol.Ascii -> "ascii"
        | BindingProtocol.Binary -> "binary"
        | _ -> "auto-negotiate"
