/// A disk in memory that fails and loses power where a test says.
module LsmFs.Host.Tests.SimulatedDisk

// Invariants
// 1. `Names` and `Contents` are what the running process sees; `DurableNames` and `DurableContents` what was synced. Nothing moves from the first to
//    the second but by `Sync` of the file and `SyncFolder` of the folder.
// 2. After a failed sync of a file nothing of that file becomes durable any more, whatever later syncs say: what Linux does to dirty pages.
// 3. An image is a value: operations on a disk never change it.

open System
open System.IO
open System.Threading
open LsmFs.Host

/// What a disk holds. Files are named without their folder: a store has one.
type DiskImage = {
    Names: Map<string, int>
    Contents: Map<int, byte[]>
    DurableNames: Map<string, int>
    DurableContents: Map<int, byte[]>
}

/// What became of what was not synced.
type PowerLoss =
    /// The process was killed and the machine went on.
    | Everything
    /// Nothing of it was kept.
    | NothingUnsynced
    /// Names were kept, contents were not.
    | NamesOnly
    /// Each name and each file by itself: kept, lost, half written, or zeros.
    | AnyMixture of seed: int

module DiskImage =
    let empty = {
        Names = Map.empty
        Contents = Map.empty
        DurableNames = Map.empty
        DurableContents = Map.empty
    }

    let private survivors (random: Random) (durable: byte[]) (current: byte[]) : byte[] =
        if Object.ReferenceEquals(durable, current) then
            current
        else
            match random.Next 4 with
            | 0 -> durable
            | 1 -> current
            | 2 when current.Length > durable.Length ->
                current[.. durable.Length + (current.Length - durable.Length) / 2 - 1]
            | _ when current.Length > durable.Length ->
                Array.append durable (Array.zeroCreate (current.Length - durable.Length))
            | _ -> durable

    let private of' (names: Map<string, int>) (contents: Map<int, byte[]>) : DiskImage =
        let used = names |> Map.values |> Set.ofSeq
        let contents = contents |> Map.filter (fun file _ -> used.Contains file)

        {
            Names = names
            Contents = contents
            DurableNames = names
            DurableContents = contents
        }

    /// The disk as the next process finds it; all that it finds is durable, but for `Everything`.
    let after (loss: PowerLoss) (image: DiskImage) : DiskImage =
        match loss with
        | Everything -> image
        | NothingUnsynced -> of' image.DurableNames image.DurableContents
        | NamesOnly -> of' image.Names image.DurableContents
        | AnyMixture seed ->
            let random = Random seed

            let names =
                Seq.append (Map.keys image.Names) (Map.keys image.DurableNames)
                |> Seq.distinct
                |> Seq.choose (fun name ->
                    let survivor =
                        if random.Next 2 = 0 then
                            image.Names
                        else
                            image.DurableNames

                    Map.tryFind name survivor |> Option.map (fun file -> name, file))
                |> Map.ofSeq

            of' names (image.Contents |> Map.map (fun file -> survivors random image.DurableContents[file]))

/// What a file operation is, for whoever wants to see it or let it fail.
type Operation = { Kind: string; File: string; Index: int }

/// A disk. `decide` is asked before every operation, on its thread, for the error it fails with, if any; `observe` sees the image after every one that changes something.
[<Sealed>]
type SimulatedDisk(start: DiskImage) =
    inherit FileSystem()
    let monitor = obj ()
    let mutable image = start

    let mutable nextFile =
        if start.Contents.IsEmpty then
            0
        else
            Seq.max (Map.keys start.Contents) + 1

    let mutable broken = Set.empty<int>
    let mutable count = 0
    let mutable isLocked = false
    let mutable openCount = 0
    let handles = System.Collections.Generic.List<int>()
    let mutable capacityBytes = Int64.MaxValue
    let mutable decide: Operation -> exn option = fun _ -> None
    let mutable observe: DiskImage -> unit = ignore
    let mutable isCold = false

    let fileName (path: string) = string (Path.GetFileName path)

    /// Runs an operation: `fail` is what is left behind when it fails.
    let operate (kind: string) (file: string) (fail: unit -> unit) (body: unit -> 'result) : 'result =
        // Not under the lock: the decision may take its time while the others go on.
        match decide { Kind = kind; File = file; Index = Interlocked.Increment &count } with
        | Some error ->
            lock monitor fail
            raise error
        | None ->
            lock monitor (fun () ->
                let before = image
                let result = body ()

                if not (Object.ReferenceEquals(before, image)) then
                    observe image

                result)

    let notFound (name: string) : exn = FileNotFoundException $"there is no {name}"
    let fileOf (name: string) = image.Names |> Map.tryFind name |> Option.defaultWith (fun () -> raise (notFound name))

    let replaced (bytes: byte[]) (offset: int) (written: ReadOnlySpan<byte>) : byte[] =
        let result = Array.zeroCreate (max bytes.Length (offset + written.Length))
        bytes.CopyTo(result, 0)
        written.CopyTo(Span<byte>(result, offset, written.Length))
        result

    /// Deleted files take their space until the last handle is closed, as on a real disk.
    let freeBytes () : int64 =
        let used =
            Seq.append (Map.values image.Names) handles
            |> Seq.distinct
            |> Seq.sumBy (fun file -> int64 image.Contents[file].Length)

        max 0L (capacityBytes - used)

    let grow (name: string) (bytes: int64) : unit =
        if capacityBytes < Int64.MaxValue && bytes > freeBytes () then
            raise (IOException($"No space left on device: {name}", 28))

    let openFile (name: string) (file: int) : StorageFile =
        let isOpen = ref true
        openCount <- openCount + 1
        handles.Add file

        let checkOpen () =
            if not isOpen.Value then
                raise (ObjectDisposedException name)

        let set (bytes: byte[]) = image <- { image with Contents = image.Contents.Add(file, bytes) }

        {
            new StorageFile() with
                override _.LengthBytes =
                    operate "length" name ignore (fun () ->
                        checkOpen ()
                        int64 image.Contents[file].Length)

                override _.Read(buffer, offset) =
                    let bytes =
                        operate "read" name ignore (fun () ->
                            checkOpen ()
                            image.Contents[file])

                    let count = max 0 (min buffer.Length (bytes.Length - int offset))
                    ReadOnlySpan<byte>(bytes, min bytes.Length (int offset), count).CopyTo buffer
                    count

                override file.TryReadNow(buffer, offset) =
                    not (Volatile.Read &isCold)
                    && (try
                            file.ReadExactly(buffer, offset)
                            true
                        with :? IOException ->
                            false)

                override _.Write(bytes, offset) =
                    let written = bytes.ToArray()
                    let part (count: int) = set (replaced image.Contents[file] (int offset) (written.AsSpan(0, count)))

                    operate "write" name (fun () -> part (written.Length / 2)) (fun () ->
                        checkOpen ()
                        let growth = offset + int64 written.Length - int64 image.Contents[file].Length

                        if growth > 0L && growth > freeBytes () then
                            // As much as there is room for stays.
                            part (written.Length - int (growth - freeBytes ()))

                        grow name growth
                        part written.Length)

                override _.SetLength length =
                    operate "cut" name ignore (fun () ->
                        checkOpen ()
                        let bytes = image.Contents[file]
                        let resized = Array.zeroCreate (int length)
                        Array.Copy(bytes, resized, min bytes.Length resized.Length)
                        set resized)

                override _.Allocate length =
                    operate "allocate" name ignore (fun () ->
                        checkOpen ()
                        let bytes = image.Contents[file]

                        if int64 bytes.Length < length then
                            grow name (length - int64 bytes.Length)
                            set (replaced bytes (int length) ReadOnlySpan<byte>.Empty))

                override disk.TryTakeAhead length =
                    disk.Allocate length
                    true

                override _.Sync() =
                    operate "sync" name (fun () -> broken <- broken.Add file) (fun () ->
                        checkOpen ()

                        if not (broken.Contains file) then
                            image <- {
                                image with
                                    DurableContents = image.DurableContents.Add(file, image.Contents[file])
                            })

                override _.Dispose() =
                    lock monitor (fun () ->
                        if isOpen.Value then
                            isOpen.Value <- false
                            openCount <- openCount - 1
                            handles.Remove file |> ignore)
        }

    /// What the disk holds.
    member _.Image = lock monitor (fun () -> image)

    /// Files that are open.
    member _.OpenCount = lock monitor (fun () -> openCount)

    /// Operations so far.
    member _.OperationCount = Volatile.Read &count

    /// Bytes that the disk holds; what does not fit is ENOSPC.
    member _.CapacityBytes
        with get () = lock monitor (fun () -> capacityBytes)
        and set (bytes: int64) = lock monitor (fun () -> capacityBytes <- bytes)

    /// Bytes that are free.
    member _.FreeBytes = lock monitor freeBytes

    member _.FailWith(decision: Operation -> exn option) = lock monitor (fun () -> decide <- decision)
    member _.Observe(observer: DiskImage -> unit) = lock monitor (fun () -> observe <- observer)

    /// Whether reads have to wait for the disk: nothing is in the page cache.
    member _.IsCold
        with get () = Volatile.Read &isCold
        and set (value: bool) = Volatile.Write(&isCold, value)

    override _.CreateFolder _ = ()

    override _.Lock(path, _) =
        operate "lock" (fileName path) ignore (fun () ->
            if isLocked then
                raise (IOException("locked", 11))

            isLocked <- true

            {
                new IDisposable with
                    member _.Dispose() = lock monitor (fun () -> isLocked <- false)
            })

    override _.FileNames _ = operate "list" "." ignore (fun () -> [| yield! Map.keys image.Names |])

    override _.Exists path = lock monitor (fun () -> image.Names.ContainsKey(fileName path))

    override _.Create path =
        let name = fileName path

        operate "create" name ignore (fun () ->
            if image.Names.ContainsKey name then
                raise (IOException $"{name} exists")

            let file = nextFile
            nextFile <- nextFile + 1

            image <- {
                image with
                    Names = image.Names.Add(name, file)
                    Contents = image.Contents.Add(file, [||])
                    DurableContents = image.DurableContents.Add(file, [||])
            }

            openFile name file)

    override _.OpenRead path =
        let name = fileName path
        operate "open" name ignore (fun () -> openFile name (fileOf name))

    override _.OpenWrite path =
        let name = fileName path
        operate "open" name ignore (fun () -> openFile name (fileOf name))

    override _.Delete path =
        let name = fileName path

        operate "delete" name ignore (fun () ->
            if image.Names.ContainsKey name then
                image <- { image with Names = image.Names.Remove name })

    override _.Move(path, newPath) =
        let name = fileName path

        operate "rename" name ignore (fun () ->
            let file = fileOf name
            image <- { image with Names = image.Names.Remove(name).Add(fileName newPath, file) })

    // A file of another disk.
    override _.TryLink(_, _) = false

    override _.SyncFolder _ = operate "sync" "." ignore (fun () -> image <- { image with DurableNames = image.Names })
