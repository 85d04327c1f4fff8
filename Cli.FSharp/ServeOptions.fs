namespace LsmFs.Cli

open System.Collections.Generic
open LsmFs.Engine

/// An address to listen on, not yet resolved.
type ListenAddress = {
    /// A host name, an IPv4 address, an IPv6 address without brackets, or `*` for every interface.
    Host: string
    /// A TCP port; 0 takes any free one.
    Port: int
} with

    /// As `-l` takes it.
    override address.ToString() =
        if address.Host.Contains ':' then
            $"[{address.Host}]:{address.Port}"
        else
            $"{address.Host}:{address.Port}"

/// What `lsmfs serve` is to do, every default filled in and every value checked.
type ServeOptions = {
    /// Where to listen; at least one.
    Addresses: IReadOnlyList<ListenAddress>
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
    /// What is to be said before serving: flags of memcached that have no effect here.
    Notices: IReadOnlyList<Notice>
}
