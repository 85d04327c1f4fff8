namespace LsmFs.Engine

// The file RESERVE in the data folder is disk space that nothing else can take. On a full disk it is given up in pieces, from its end, to what makes
// space again. Of its bytes only their number matters; this is what it is kept for, the most necessary first:
//
//   +----------------------+------------------------------+---------------------------------+--------------------------+
//   | opening a store      | version edits, new manifests | one memtable as a table,        | the log of deletes       |
//   | again                | and logs of an open store    | or a compaction                 | and flush_all            |
//   +----------------------+------------------------------+---------------------------------+--------------------------+
//
// Each use takes from its own share first, and then from those that are less necessary; never from one that is more so.

/// What keeps a store from writing, by the last error of its disk. The larger is the worse.
type DiskTrouble =
    | None = 0
    /// There is no space left but the reserve.
    | Full = 1
    /// The file system was made read-only.
    | ReadOnly = 2
    /// Any other error.
    | Failed = 3

/// What space is needed for.
type SpaceUse =
    /// The manifest and the log that opening a store begins.
    | Opening = 0
    /// Version edits, new manifests and new logs of an open store.
    | Manifest = 1
    | Flush = 2
    /// A compaction, which gives back more than it takes when it comes to an end. It takes nothing but the share of flushes, so that deletes go on beside it.
    | Compaction = 3
    /// The log of deletes and flushes of everything.
    | Removal = 4

/// What is left of the reserve, in bytes.
type ReserveShares = {
    OpeningBytes: int64
    ManifestBytes: int64
    TableBytes: int64
    RemovalBytes: int64
} with

    /// The length of the file.
    member shares.TotalBytes =
        shares.OpeningBytes + shares.ManifestBytes + shares.TableBytes + shares.RemovalBytes

/// How much disk space is kept in reserve, and who may use it.
[<RequireQualifiedAccess>]
module DiskSpace =

    let private unit = 4096L

    let private roundUp (bytes: int64) : int64 = (bytes + unit - 1L) / unit * unit

    /// The whole reserve. A table is no larger than its memtable but for the last write.
    let whole (options: Options) : ReserveShares =
        let part (divisor: int64) (unitsMin: int64) =
            options.MemtableSizeBytes / divisor |> max (unitsMin * unit) |> roundUp

        {
            OpeningBytes = part 8L 8L
            ManifestBytes = part 8L 8L
            TableBytes = roundUp (options.MemtableSizeBytes + options.MemtableSizeBytes / 8L)
            RemovalBytes = part 4L 4L
        }

    /// Bytes that must be free beside a whole reserve before the disk no longer counts as full: with a few the next write would find it full again.
    let slackBytes (options: Options) : int64 = (whole options).RemovalBytes

    /// How much of the reserve is given up, or taken back, at a time, in bytes.
    let stepBytes (options: Options) : int64 = (whole options).TotalBytes / 64L |> roundUp

    /// The shares of a reserve of some length: the most necessary are filled first.
    let ofLength (options: Options) (lengthBytes: int64) : ReserveShares =
        let whole = whole options
        let opening = min whole.OpeningBytes lengthBytes
        let manifest = min whole.ManifestBytes (lengthBytes - opening)
        let table = min whole.TableBytes (lengthBytes - opening - manifest)

        {
            OpeningBytes = opening
            ManifestBytes = manifest
            TableBytes = table
            RemovalBytes = lengthBytes - opening - manifest - table
        }

    /// What stays in reserve when a use that needs some bytes takes what it may; none when it may take nothing.
    let release
        (options: Options)
        (use': SpaceUse)
        (neededBytes: int64)
        (shares: ReserveShares)
        : ReserveShares voption =
        let mayTake (uses: SpaceUse list) = List.contains use' uses
        let mutable wanted = max (roundUp neededBytes) (stepBytes options)

        let take (isAllowed: bool) (share: int64) : int64 =
            if isAllowed then
                let taken = min share wanted
                wanted <- wanted - taken
                share - taken
            else
                share

        // The own share before those behind it: a flush leaves the deletes theirs as long as it can.
        let table = take (mayTake [ SpaceUse.Flush; SpaceUse.Compaction ]) shares.TableBytes
        let manifest = take (mayTake [ SpaceUse.Manifest ]) shares.ManifestBytes

        let removal =
            take (mayTake [ SpaceUse.Removal; SpaceUse.Flush; SpaceUse.Manifest; SpaceUse.Opening ]) shares.RemovalBytes

        let table = take (mayTake [ SpaceUse.Manifest; SpaceUse.Opening ]) table
        let manifest = take (mayTake [ SpaceUse.Opening ]) manifest
        let opening = take (mayTake [ SpaceUse.Opening ]) shares.OpeningBytes

        let left = {
            OpeningBytes = opening
            ManifestBytes = manifest
            TableBytes = table
            RemovalBytes = removal
        }

        if left.TotalBytes < shares.TotalBytes then
            ValueSome left
        else
            ValueNone

    /// Why writes are refused, in a few words for a client.
    let reason (trouble: DiskTrouble) : string =
        match trouble with
        | DiskTrouble.Full -> "out of disk space"
        | DiskTrouble.ReadOnly -> "the disk is read-only"
        | _ -> "the disk failed"
