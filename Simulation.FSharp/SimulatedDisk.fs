namespace LsmFs.Simulation

open System
open System.Collections.Generic
open System.IO
open System.Threading
open LsmFs.Host

/// An operation of a process on a disk: `write`, `read`, `sync`, `create` and so on, of a file, or of the folder, `.`. The index counts them from 1.
[<Struct>]
type DiskOperation = { Kind: string; File: string; Index: int }

/// How an operation goes wrong.
type DiskFault =
    /// It fails with an error. Half of what was to be written is there then, and a failed sync drops what it was to make durable, as Linux does.
    | Fails of error: exn
    /// It fails with an error, and yet it was done.
    | DoneButFails of error: exn
    /// A read gives back one bit wrong.
    | BitFlipped of bit: int
    /// A sync says that it is done, and nothing was made durable: a disk that lies. Other operations are carried out.
    | SyncIgnored

/// The process was killed, or the power is gone: nothing it does reaches the disk any more.
[<Sealed>]
type MachineStoppedException() =
    inherit Exception("the simulated machine has stopped")

/// Errors of the operating system, for faults.
[<RequireQualifiedAccess>]
module DiskErrors =
    /// EIO.
    let inputOutput () : exn = IOException("Input/output error", 5)
    /// ENOSPC.
    let noSpace () : exn = IOException("No space left on device", 28)
    /// EROFS.
    let readOnly () : exn = IOException("Read-only file system", 30)

/// A disk in memory, with the semantics of real ones: what was written and not synced may be lost in part when the power is (`DiskImage.After`), a name is durable once its folder
/// was synced, a failed sync drops what was to be synced, and space is limited. It has one folder. Thread-safe, and deterministic when it is used from one thread.
[<Sealed>]
type SimulatedDisk(start: DiskImage) =
    let monitor = obj ()
    let mutable names = start.NameMap
    let mutable durableNames = start.DurableNameMap
    let files = Dictionary<int, FileState>()

    do
        start.FileMap
        |> Map.iter (fun file state -> files.Add(file, { state with Current = Content.share state.Current }))

    let mutable nextFile =
        if start.FileMap.IsEmpty then
            0
        else
            Seq.max (Map.keys start.FileMap) + 1

    let mutable count = 0
    let mutable isLocked = false
    let mutable isStopped = false
    let mutable openCount = 0
    let handles = List<int>()
    let mutable capacityBytes = Int64.MaxValue
    let mutable before: DiskOperation -> DiskFault option = fun _ -> None
    let mutable completed: (DiskOperation -> unit) voption = ValueNone
    let mutable observe: (DiskImage -> unit) voption = ValueNone
    let mutable isCold = false

    let fileName (path: string) = string (Path.GetFileName path)

    let image () : DiskImage =
        let shared (state: FileState) = {
            state with
                Current = Content.share state.Current
                Durable = Content.share state.Durable
        }

        DiskImage(
            names,
            durableNames,
            files |> Seq.map (fun (KeyValue(file, state)) -> file, shared state) |> Map.ofSeq
        )

    // A file that has neither a name nor a handle is gone.
    let forget (file: int) : unit =
        let isNamed (names: Map<string, int>) = names |> Map.exists (fun _ named -> named = file)

        if not (handles.Contains file || isNamed names || isNamed durableNames) then
            files.Remove file |> ignore

    let notFound (name: string) : exn = FileNotFoundException $"there is no {name}"

    let fileOf (name: string) =
        match Map.tryFind name names with
        | Some file -> file
        | None -> raise (notFound name)

    let checkRunning () =
        if Volatile.Read &isStopped then
            raise (MachineStoppedException())

    /// Runs an operation: `fail` is what is left behind when it fails.
    let operate (kind: string) (file: string) (isChange: bool) (fail: unit -> unit) (body: unit -> 'result) : 'result =
        checkRunning ()
        let operation = { Kind = kind; File = file; Index = Interlocked.Increment &count }
        // Not under the lock: the decision may take its time while the others go on, and may be to go on elsewhere first.
        let fault = before operation
        checkRunning ()

        let carryOut () =
            lock monitor (fun () ->
                let result = body ()

                if isChange && observe.IsSome then
                    observe.Value(image ())

                result)

        match fault with
        | Some(Fails error) ->
            lock monitor fail
            raise error
        | Some(DoneButFails error) ->
            // Nobody gets what was opened.
            match box (carryOut ()) with
            | :? IDisposable as opened -> opened.Dispose()
            | _ -> ()

            raise error
        | _ ->
            let result =
                match fault with
                // A sync has no result.
                | Some SyncIgnored when kind = "sync" -> Unchecked.defaultof<'result>
                | _ -> carryOut ()

            if completed.IsSome then
                completed.Value operation
                checkRunning ()

            result

    /// Deleted files take their space until the last handle is closed, as on a real disk.
    let freeBytes () : int64 =
        let used =
            Seq.append (Map.values names) handles
            |> Seq.distinct
            |> Seq.sumBy (fun file -> int64 files[file].Current.Length)

        max 0L (capacityBytes - used)

    let grow (name: string) (bytes: int64) : unit =
        if capacityBytes < Int64.MaxValue && bytes > freeBytes () then
            raise (IOException($"No space left on device: {name}", 28))

    let openFile (name: string) (file: int) : StorageFile =
        let mutable isOpen = true
        openCount <- openCount + 1
        handles.Add file

        let checkOpen () =
            if not isOpen then
                raise (ObjectDisposedException name)

        let change (content: Content) (change: Change) =
            let state = files[file]
            files[file] <- { state with Current = content; Unsynced = change :: state.Unsynced }

        let write (offset: int) (bytes: byte[]) =
            if bytes.Length > 0 then
                change (Content.write files[file].Current offset (ReadOnlySpan<byte> bytes)) (Written(offset, bytes))

        let resize (length: int) =
            if length <> files[file].Current.Length then
                change (Content.setLength files[file].Current length) (Resized length)

        {
            new StorageFile() with
                override _.LengthBytes =
                    operate "length" name false ignore (fun () ->
                        checkOpen ()
                        int64 files[file].Current.Length)

                override _.Read(buffer, offset) =
                    let mutable flipped = -1

                    let content =
                        checkRunning ()
                        let operation = { Kind = "read"; File = name; Index = Interlocked.Increment &count }
                        let fault = before operation
                        checkRunning ()

                        match fault with
                        | Some(Fails error)
                        | Some(DoneButFails error) -> raise error
                        | Some(BitFlipped bit) -> flipped <- bit
                        | Some SyncIgnored
                        | None -> ()

                        lock monitor (fun () ->
                            checkOpen ()
                            Content.share files[file].Current)

                    let count = Content.read content offset buffer

                    if flipped >= 0 && count > 0 then
                        let bit = flipped % (count * 8)
                        buffer[bit / 8] <- buffer[bit / 8] ^^^ (1uy <<< (bit % 8))

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

                    operate
                        "write"
                        name
                        true
                        (fun () -> write (int offset) written[.. written.Length / 2 - 1])
                        (fun () ->
                            checkOpen ()
                            let growth = offset + int64 written.Length - int64 files[file].Current.Length

                            if growth > 0L && capacityBytes < Int64.MaxValue && growth > freeBytes () then
                                // As much as there is room for stays.
                                let fitting = max 0 (written.Length - int (growth - freeBytes ()))
                                write (int offset) written[.. fitting - 1]
                                grow name growth

                            write (int offset) written)

                override _.SetLength length =
                    operate "cut" name true ignore (fun () ->
                        checkOpen ()
                        resize (int length))

                override _.Allocate length =
                    operate "allocate" name true ignore (fun () ->
                        checkOpen ()
                        let current = int64 files[file].Current.Length

                        if current < length then
                            grow name (length - current)
                            resize (int length))

                override file.TryTakeAhead length =
                    file.Allocate length
                    true

                override _.Sync() =
                    operate
                        "sync"
                        name
                        true
                        (fun () -> files[file] <- FileState.dropped (fun () -> false) files[file])
                        (fun () ->
                            checkOpen ()
                            files[file] <- FileState.synced files[file])

                override _.Dispose() =
                    lock monitor (fun () ->
                        if isOpen then
                            isOpen <- false
                            openCount <- openCount - 1
                            handles.Remove file |> ignore
                            forget file)
        }

    let fileSystem = {
        new FileSystem() with
            override _.CreateFolder _ = ()

            override _.Lock(path, _) =
                operate "lock" (fileName path) false ignore (fun () ->
                    if isLocked then
                        raise (IOException("locked", 11))

                    isLocked <- true

                    {
                        new IDisposable with
                            member _.Dispose() = lock monitor (fun () -> isLocked <- false)
                    })

            override _.FileNames _ = operate "list" "." false ignore (fun () -> [| yield! Map.keys names |])

            override _.Exists path = lock monitor (fun () -> names.ContainsKey(fileName path))

            override _.Create path =
                let name = fileName path

                operate "create" name true ignore (fun () ->
                    if names.ContainsKey name then
                        raise (IOException $"{name} exists")

                    let file = nextFile
                    nextFile <- nextFile + 1
                    names <- names.Add(name, file)
                    files.Add(file, FileState.created ())
                    openFile name file)

            override _.OpenRead path =
                let name = fileName path
                operate "open" name false ignore (fun () -> openFile name (fileOf name))

            override _.OpenWrite path =
                let name = fileName path
                operate "open" name false ignore (fun () -> openFile name (fileOf name))

            override _.Delete path =
                let name = fileName path

                operate "delete" name true ignore (fun () ->
                    match Map.tryFind name names with
                    | Some file ->
                        names <- names.Remove name
                        forget file
                    | None -> ())

            override _.Move(path, newPath) =
                let name = fileName path

                operate "rename" name true ignore (fun () ->
                    let file = fileOf name
                    let replaced = Map.tryFind (fileName newPath) names
                    names <- names.Remove(name).Add(fileName newPath, file)
                    replaced |> Option.iter forget)

            // A file of another disk.
            override _.TryLink(_, _) = false

            override _.SyncFolder _ =
                operate "sync" "." true ignore (fun () ->
                    let gone = durableNames |> Map.values |> List.ofSeq
                    durableNames <- names
                    gone |> List.iter forget)
    }

    /// A new disk.
    new() = SimulatedDisk DiskImage.Empty

    /// What a store's options take.
    member internal _.FileSystem: FileSystem = fileSystem

    /// What the disk holds. O(files): the bytes are not copied.
    member _.Image: DiskImage = lock monitor image

    /// Files that are open.
    member _.OpenCount: int = lock monitor (fun () -> openCount)

    /// Operations so far.
    member _.OperationCount: int = Volatile.Read &count

    /// Bytes that the disk holds; what does not fit is ENOSPC.
    member _.CapacityBytes
        with get (): int64 = lock monitor (fun () -> capacityBytes)
        and set (bytes: int64) = lock monitor (fun () -> capacityBytes <- bytes)

    /// Bytes that are free.
    member _.FreeBytes: int64 = lock monitor freeBytes

    /// Asks before every operation, on its thread, how it goes wrong, if it does. Whoever is asked may do other things first, also on this disk.
    member _.Inject(decision: DiskOperation -> DiskFault option) : unit = lock monitor (fun () -> before <- decision)

    /// Asks before every operation for the error that it fails with, if any.
    member disk.FailWith(decision: DiskOperation -> exn option) : unit =
        disk.Inject(fun operation -> decision operation |> Option.map Fails)

    /// Tells after every operation that went well, on its thread.
    member _.Completed(handler: DiskOperation -> unit) : unit = lock monitor (fun () -> completed <- ValueSome handler)

    /// Shows the disk after every change of it.
    member _.Observe(observer: DiskImage -> unit) : unit = lock monitor (fun () -> observe <- ValueSome observer)

    /// Whether reads have to wait for the disk: nothing is in the page cache.
    member _.IsCold
        with get (): bool = Volatile.Read &isCold
        and set (value: bool) = Volatile.Write(&isCold, value)

    /// The process that uses the disk ends: nothing of what it does from here on reaches it. What it left is the image.
    member _.Stop() : DiskImage =
        lock monitor (fun () ->
            isStopped <- true
            image ())
