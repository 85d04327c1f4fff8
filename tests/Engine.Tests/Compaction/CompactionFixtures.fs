/// Sources for merges and jobs, a disk in memory, and a host that carries out every step.
module LsmFs.Engine.Tests.CompactionFixtures

open System
open System.Collections.Generic
open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators
open LsmFs.Engine.Tests.TableFixtures

/// The entries of a model, in memory.
[<Sealed>]
type ListSource(model: Model) =
    inherit EntrySource()
    let entries = Array.ofSeq model.Values
    let mutable position = -1

    override _.MoveNext() =
        position <- min (position + 1) entries.Length

        if position < entries.Length then
            SourceState.Ready
        else
            SourceState.Exhausted

    override _.Current = { Buffer = entries[position]; Offset = 0 }

/// The files of tables.
[<Sealed>]
type Disk() =
    let files = Dictionary<Table, byte[]>(HashIdentity.Reference)

    /// Stores a model as one table.
    member _.Store(options: Options, model: Model) : Table =
        let file = build options model
        let table = openOrFail file
        files[table] <- file
        table

    /// Stores a model as a sorted run of tables with at most `entriesPerTable` entries each.
    member disk.StoreRun(options: Options, entriesPerTable: int, model: Model) : Table[] =
        model
        |> Map.toArray
        |> Array.chunkBySize entriesPerTable
        |> Array.map (fun chunk -> disk.Store(options, Map.ofArray chunk))

    member _.File(table: Table) : byte[] = files[table]

    /// Carries out a read.
    member _.Read(read: BlockRead) : unit =
        Array.Copy(files[read.Table], read.Handle.OffsetBytes, read.Destination, 0L, int64 read.Handle.LengthBytes)

/// What was written by whom: sequence numbers go up along the list, and each write belongs to one of four sources.
type History = (byte * Write) list

let sourceCount = 4

/// What each source holds: the newest of its own entries for each key.
let sourcesOf (history: History) : Model list =
    let numbered =
        history
        |> List.mapi (fun index (source, write) -> int source % sourceCount, uint64 index + 1UL, write)

    [
        for source in 0 .. sourceCount - 1 ->
            numbered
            |> List.filter (fun (owner, _, _) -> owner = source)
            |> List.fold
                (fun model (_, sequence, write) -> Map.add (modelKey write.WriteKey) (encode sequence write) model)
                Map.empty
    ]

/// The fold of all sources: the newest entry of each key.
let newest (history: History) : Model = modelFrom 1UL (List.map snd history)

/// Some sources in memory and some on disk, in an order that says nothing of their age; with the memory for what they read.
let openSourcesIn (memory: JobMemory) (disk: Disk) (shape: int) (history: History) : EntrySource[] =
    sourcesOf history
    |> List.mapi (fun index model ->
        if (shape >>> index) &&& 1 = 0 then
            ListSource model :> EntrySource
        else
            let tables = disk.StoreRun(tinyOptions, 1 + (abs shape % 5), model)
            TableRunSource(tables, KeyBounds.all, 40 * (abs shape % 17), memory))
    |> Array.ofList

/// Some sources in memory and some on disk, in an order that says nothing of their age.
let openSources (disk: Disk) (shape: int) (history: History) : EntrySource[] =
    openSourcesIn (JobMemory()) disk shape history

/// A table that a job wrote.
type Output = { Properties: TableProperties; File: byte[] }

/// Carries a job out to its end.
let run (disk: Disk) (job: Job) : Result<Output list, Corruption> =
    let file = ByteBuffer 1024

    let rec go (outputs: Output list) =
        match job.Next() with
        | JobStep.Read read ->
            disk.Read read
            job.Supply()
            go outputs
        | JobStep.Write bytes ->
            Expect.isGreaterThan bytes.Count 0 "nothing is written in vain"
            file.Append(bytes.AsSpan())
            go outputs
        | JobStep.Pause -> go outputs
        | JobStep.TableFinished(properties, sizeBytes) ->
            Expect.equal sizeBytes (int64 file.Length) "the size that the job tells"
            let output = { Properties = properties; File = file.ToArray() }
            file.Clear()
            go (output :: outputs)
        | JobStep.Done ->
            Expect.equal file.Length 0 "no half table is left"
            Expect.isTrue (job.Next().IsDone) "it stays done"
            Ok(List.rev outputs)
        | JobStep.Failed corruption ->
            Expect.isTrue (job.Next().IsFailed) "it stays failed"
            Error corruption

    go []

/// The tables of a job as the entries that are read back from them.
let entriesOf (outputs: Output list) : byte[] list =
    outputs
    |> List.collect (fun output ->
        let table = openOrFail output.File
        Expect.equal table.Properties output.Properties "the properties that the job tells"

        match readAll output.File table with
        | Ok entries -> entries
        | Error corruption -> failtest $"%O{corruption}")
