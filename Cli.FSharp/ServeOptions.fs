namespace LsmFs.Cli

open System.Collections.Generic
open LsmFs.Engine

/// What an address of `-l` says of TLS.
type ListenTls =
    /// Nothing: TLS as `-Z` and `-o ssl_verify_mode` have it.
    | Default = 0
    /// `notls:`
    | Off = 1
    /// `btls:`, without asking for a client's certificate.
    | Basic = 2
    /// `mtls:`, clients must show a certificate.
    | Mutual = 3

/// An address to listen on, not yet resolved.
type ListenAddress = {
    /// A host name, an IPv4 address, an IPv6 address without brackets, or `*` for every interface.
    Host: string
    /// A TCP port; 0 takes any free one.
    Port: int
    /// The protocol that it was marked for with `proto[...]:`; none was named when it is not there.
    Protocol: BindingProtocol voption
    /// The name that it was given with `tag[...]:`, or empty. It names the address and changes nothing.
    Tag: string
    Tls: ListenTls
} with

    /// An address that says nothing but host and port.
    static member At(host: string, port: int) : ListenAddress = {
        Host = host
        Port = port
        Protocol = ValueNone
        Tag = ""
        Tls = ListenTls.Default
    }

    /// As `-l` takes it.
    override address.ToString() =
        let tls =
            match address.Tls with
            | ListenTls.Off -> "notls:"
            | ListenTls.Basic -> "btls:"
            | ListenTls.Mutual -> "mtls:"
            | _ -> ""

        let protocol =
            match address.Protocol with
            | ValueSome BindingProtocol.Ascii -> "proto[ascii]:"
            | ValueSome BindingProtocol.Binary -> "proto[binary]:"
            | ValueSome _ -> "proto[negotiating]:"
            | ValueNone -> ""

        let tag = if address.Tag = "" then "" else $"tag[{address.Tag}]:"

        let host =
            if address.Host.Contains ':' then
                $"[{address.Host}]"
            else
                address.Host

        $"{tls}{protocol}{tag}{host}:{address.Port}"

/// A unix domain socket to listen on.
type UnixSocketOptions = {
    Path: string
    /// Who may connect.
    Mode: System.IO.UnixFileMode
}

/// How clients are let in and served, beside the addresses.
type SocketOptions = {
    /// In place of the addresses.
    UnixSocket: UnixSocketOptions voption
    /// Connections that the system holds until they are accepted.
    BacklogCount: int
    /// Commands or keys of a connection before others get their turn, at least 1.
    RequestCountMaxPerTurn: int
    /// Seconds after which an idle connection is closed; 0 never.
    IdleTimeoutSeconds: int
    /// Whether one connection too many is told so and closed, and does not wait.
    RefusesAtLimit: bool
}

/// What the process is to be.
type ProcessOptions = {
    /// Whether to serve in the background.
    IsDaemon: bool
    /// The file that has the number of the process, if there is to be one.
    PidFile: string voption
    /// The user to become when started as root.
    User: string voption
    RaisesCoreLimit: bool
    LocksMemory: bool
    /// Whether clients may stop the server.
    AllowsShutdown: bool
}

/// How the private key is stored.
type TlsKeyFormat =
    | Pem = 1
    | Der = 2

/// Whether clients show a certificate.
type TlsVerifyMode =
    /// They are not asked.
    | None = 0
    /// They are asked; one that is shown must be good.
    | Request = 1
    /// They must show a good one.
    | Require = 2
    /// The same; memcached would not ask again in a renegotiation, of which there are none here.
    | Once = 3

/// TLS, as `-Z` and the `-o ssl_...` have it. Files as given.
type TlsOptions = {
    /// The server's certificate, and those that lead to its root.
    ChainFile: string
    /// The private key; none: it is in the chain's file.
    KeyFile: string voption
    KeyFormat: TlsKeyFormat
    VerifyMode: TlsVerifyMode
    /// The authorities whose clients are let in.
    AuthoritiesFile: string voption
    /// The ciphers of TLS 1.2 as given, and the suites that they are; none: the system's.
    CipherText: string voption
    CipherSuites: IReadOnlyList<System.Net.Security.TlsCipherSuite>
    /// Bytes of replies that a connection hands over to TLS at once.
    WriteBufferBytes: int
    /// Whether clients may resume sessions.
    HasSessionCache: bool
    /// 0 to 3, for TLS 1.0 to 1.3, as given; nothing below 1.2 is spoken.
    MinVersion: int
}

/// What `lsmfs serve` is to do, every default filled in and every value checked.
type ServeOptions = {
    /// Where to listen; at least one.
    Addresses: IReadOnlyList<ListenAddress>
    /// What clients may speak where the address does not say.
    Protocol: BindingProtocol
    Sockets: SocketOptions
    Process: ProcessOptions
    /// Connections open at the same time, at least 1.
    ConnectionCountMax: int
    /// Event loops, at least 1.
    ThreadCount: int
    /// Memory for memtables, cache, filters and indexes together.
    MemoryBudgetBytes: int64
    /// The largest value a client may store.
    ValueSizeBytesMax: int
    /// How often `-v` was given.
    Verbosity: int
    /// The folder of the data, as given.
    DataFolder: string
    /// When a write is acknowledged.
    Durability: Durability
    /// How new tables are compressed.
    Compression: Compression
    /// What clients may not do.
    Restrictions: Restrictions
    /// The file of users and passwords that clients authenticate with, as given; none: nobody has to.
    PasswordFile: string voption
    /// TLS; none: no listener speaks it.
    Tls: TlsOptions voption
    /// What is to be said before serving: flags of memcached that have no effect here.
    Notices: IReadOnlyList<Notice>
}
