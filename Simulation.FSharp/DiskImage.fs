namespace LsmFs.Simulation

// Invariants
// 1. What a file holds is `Current`, and what the disk would hold of it after a power cut at the worst moment is `Durable`. `Unsynced` are the changes
//    between the two, but for those that a failed sync has dropped.
// 2. An image is a value: nothing that a disk does later changes it. The bytes of a buffer below `SharedLength` never change.

open System
open System.Collections.Generic

/// The bytes of a file, zeros from `Used` on.
[<Sealed>]
type internal Buffer(bytes: byte[], used: int) =
    member val Bytes = bytes with get, set
    /// From here on every byte is zero.
    member val Used = used with get, set
    /// Up to here somebody else sees the bytes.
    member val SharedLength = 0 with get, set
    /// The length of the longest content in it. Whoever has one of this length may go on in place; the others copy.
    member val ClaimedLength = used with get, set

/// What a file holds. Whoever has one sees what is below its length, until he changes it himself.
[<Struct; NoEquality; NoComparison>]
type internal Content = { Buffer: Buffer; Length: int }

[<RequireQualifiedAccess>]
module internal Content =
    let empty () : Content = { Buffer = Buffer([||], 0); Length = 0 }

    /// The same content for one more owner.
    let share (content: Content) : Content =
        content.Buffer.SharedLength <- max content.Buffer.SharedLength content.Length
        content

    let private copy (content: Content) (length: int) (capacity: int) : Content =
        let used = min content.Buffer.Used length
        let bytes = Array.zeroCreate (max used capacity)
        Array.Copy(content.Buffer.Bytes, bytes, used)
        let buffer = Buffer(bytes, used)
        buffer.ClaimedLength <- length
        { Buffer = buffer; Length = length }

    let read (content: Content) (offset: int64) (destination: Span<byte>) : int =
        let count = int (max 0L (min (int64 destination.Length) (int64 content.Length - offset)))
        let stored = int (max 0L (min (int64 count) (int64 content.Buffer.Used - offset)))

        if stored > 0 then
            Span<byte>(content.Buffer.Bytes, int offset, stored).CopyTo destination

        destination.Slice(stored, count - stored).Clear()
        count

    let write (content: Content) (offset: int) (bytes: ReadOnlySpan<byte>) : Content =
        if bytes.IsEmpty then
            content
        else
            let finish = offset + bytes.Length
            let buffer = content.Buffer

            let content =
                if
                    content.Length = buffer.ClaimedLength
                    && offset >= buffer.SharedLength
                    && finish <= buffer.Bytes.Length
                then
                    content
                else
                    copy content content.Length (max 512 (max content.Length finish * 3 / 2))

            let buffer = content.Buffer
            bytes.CopyTo(Span<byte>(buffer.Bytes, offset, bytes.Length))
            buffer.Used <- max buffer.Used finish
            buffer.ClaimedLength <- max content.Length finish
            { content with Length = buffer.ClaimedLength }

    let setLength (content: Content) (length: int) : Content =
        if length < content.Length && length >= content.Buffer.Used then
            { content with Length = length }
        elif length > content.Length && content.Length = content.Buffer.ClaimedLength then
            content.Buffer.ClaimedLength <- length
            { content with Length = length }
        else
            let content = copy content (min length content.Length) length
            content.Buffer.ClaimedLength <- length
            { content with Length = length }

    let toArray (content: Content) : byte[] =
        let bytes = Array.zeroCreate content.Length
        read content 0L (Span<byte>(bytes)) |> ignore
        bytes

/// A change of a file that is not synced.
[<NoEquality; NoComparison>]
type internal Change =
    | Written of offset: int * bytes: byte[]
    | Resized of length: int

/// A file, whatever its names.
[<NoEquality; NoComparison>]
type internal FileState = {
    Current: Content
    Durable: Content
    /// Newest first.
    Unsynced: Change list
    /// Whether a failed sync has dropped changes that `Current` still shows.
    HasDropped: bool
}

/// What becomes of what was not synced when a process ends.
type PowerLoss =
    /// The process was killed and the machine went on.
    | Everything
    /// Nothing of it is kept.
    | NothingUnsynced
    /// Names are kept, contents are not.
    | NamesOnly
    /// Each file keeps a beginning of what was written to it, cut at the border of a sector; names are kept or lost from the newest on.
    | AnyPrefix of seed: int
    /// Each name and each file by itself: kept, lost, torn at the border of a sector, zeros in the place of the data, or sectors in any mixture, so that
    /// later writes may be there and earlier ones not.
    | AnyMixture of seed: int

[<RequireQualifiedAccess>]
module internal FileState =
    /// What disks write as a whole, in bytes.
    [<Literal>]
    let sectorLengthBytes = 512

    let private apply (content: Content) (change: Change) : Content =
        match change with
        | Written(offset, bytes) -> Content.write content offset (ReadOnlySpan<byte> bytes)
        | Resized length -> Content.setLength content length

    /// The parts of a change that a disk writes each by itself.
    let private sectors (change: Change) : Change list =
        match change with
        | Resized _ -> [ change ]
        | Written(offset, bytes) ->
            let rec cut (from: int) =
                if from >= bytes.Length then
                    []
                else
                    let next = min bytes.Length (((offset + from) / sectorLengthBytes + 1) * sectorLengthBytes - offset)
                    Written(offset + from, bytes[from .. next - 1]) :: cut next

            cut 0

    /// The file has grown, and the data did not get there: zeros. What it had before stays.
    let private grown (content: Content) (change: Change) : Content =
        match change with
        | Written(offset, bytes) -> Content.setLength content (max content.Length (offset + bytes.Length))
        | Resized length -> Content.setLength content length

    let private settled (content: Content) : FileState = {
        Current = content
        Durable = Content.share content
        Unsynced = []
        HasDropped = false
    }

    let created () : FileState = settled (Content.empty ())

    /// The durable content with some of the changes made to it.
    let private keeping (changes: Change list) (state: FileState) : FileState =
        changes |> List.fold apply (Content.share state.Durable) |> settled

    /// All that was written is durable.
    let synced (state: FileState) : FileState =
        if state.HasDropped then
            let durable =
                List.foldBack (fun change content -> apply content change) state.Unsynced (Content.share state.Durable)

            { state with Durable = durable; Unsynced = [] }
        elif state.Unsynced.IsEmpty then
            state
        else
            { state with Durable = Content.share state.Current; Unsynced = [] }

    /// What Linux does when a sync fails: the pages count as clean, so that later syncs say that all is well. Which of them had been written?
    let dropped (survives: unit -> bool) (state: FileState) : FileState =
        let durable =
            List.rev state.Unsynced
            |> List.collect sectors
            |> List.filter (fun _ -> survives ())
            |> List.fold apply (Content.share state.Durable)

        { state with Durable = durable; Unsynced = []; HasDropped = true }

    /// The file as the next process finds it after the power was lost.
    let afterPrefix (random: Random) (state: FileState) : FileState =
        let changes = List.rev state.Unsynced |> List.collect sectors
        keeping (List.truncate (random.Next(changes.Length + 1)) changes) state

    let afterMixture (random: Random) (state: FileState) : FileState =
        if state.Unsynced.IsEmpty then
            keeping [] state
        else
            let changes = List.rev state.Unsynced

            match random.Next 7 with
            | 0 -> keeping [] state
            | 1 -> keeping changes state
            | 2
            | 3 -> afterPrefix random state
            | 4 -> changes |> List.fold grown (Content.share state.Durable) |> settled
            | 5 ->
                let sectors = changes |> List.collect sectors
                keeping (List.skip (random.Next(sectors.Length + 1)) sectors) state
            | _ -> keeping (changes |> List.collect sectors |> List.filter (fun _ -> random.Next 2 = 0)) state

    let afterLoss (state: FileState) : FileState = keeping [] state

/// What a disk holds at one moment: what a process sees, and what would be there after a power cut. A value; two are equal when no process and no power cut could
/// tell them apart, as far as names and contents go.
[<Sealed>]
type DiskImage internal (names: Map<string, int>, durableNames: Map<string, int>, files: Map<int, FileState>) =

    /// A new disk.
    static member Empty = DiskImage(Map.empty, Map.empty, Map.empty)

    member internal _.NameMap = names
    member internal _.DurableNameMap = durableNames
    member internal _.FileMap = files

    /// The files, without their folder.
    member _.Names: string list = names |> Map.keys |> List.ofSeq

    /// The bytes of a file. Throws `KeyNotFoundException`.
    member _.Read(name: string) : byte[] = Content.toArray files[names[name]].Current

    /// The same disk with other bytes in some files, as if they had always been there.
    member _.WithContents(change: string -> byte[] -> byte[]) : DiskImage =
        let changed =
            names
            |> Map.fold
                (fun (files: Map<int, FileState>) name file ->
                    let bytes = change name (Content.toArray files[file].Current)
                    let content = { Buffer = Buffer(bytes, bytes.Length); Length = bytes.Length }

                    files
                    |> Map.add file {
                        Current = Content.share content
                        Durable = content
                        Unsynced = []
                        HasDropped = false
                    })
                files

        DiskImage(names, durableNames, changed)

    /// The disk as the next process finds it.
    member image.After(loss: PowerLoss) : DiskImage =
        let settled (names: Map<string, int>) (become: FileState -> FileState) =
            let used = names |> Map.values |> HashSet

            let files =
                files |> Map.filter (fun file _ -> used.Contains file) |> Map.map (fun _ state -> become state)

            DiskImage(names, names, files)

        match loss with
        | Everything -> image
        | NothingUnsynced -> settled durableNames FileState.afterLoss
        | NamesOnly -> settled names FileState.afterLoss
        | AnyPrefix seed ->
            let random = Random seed
            settled (if random.Next 2 = 0 then names else durableNames) (FileState.afterPrefix random)
        | AnyMixture seed ->
            let random = Random seed

            let surviving =
                Seq.append (Map.keys names) (Map.keys durableNames)
                |> Seq.distinct
                |> Seq.sort
                |> Seq.choose (fun name ->
                    let survivor = if random.Next 2 = 0 then names else durableNames
                    Map.tryFind name survivor |> Option.map (fun file -> name, file))
                |> Map.ofSeq

            settled surviving (FileState.afterMixture random)

    override image.Equals(other: obj) =
        match other with
        | :? DiskImage as other ->
            let bytes (image: DiskImage) =
                image.FileMap
                |> Map.map (fun _ state -> Content.toArray state.Current, Content.toArray state.Durable)

            image.NameMap = other.NameMap
            && image.DurableNameMap = other.DurableNameMap
            && bytes image = bytes other
        | _ -> false

    override _.GetHashCode() = hash names
