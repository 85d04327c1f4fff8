/// What a store is put through on a simulated disk, and what it must look like afterwards.
module LsmFs.Host.Tests.DiskScript

open System
open System.Text
open System.Threading
open Microsoft.Extensions.Logging.Abstractions
open Expecto
open LsmFs.Engine
open LsmFs.Host
open LsmFs.Host.Tests.Folders
open LsmFs.Simulation

/// What clients see of a store.
type Contents = Map<int, byte[]>

type Change =
    | Put of int * byte[]
    | Remove of int
    | FlushAll

type Step =
    | Write of Change list
    | Flush
    | Reopen

let keyCount = 24

let private key (number: int) = Encoding.ASCII.GetBytes $"key {number:D4}"

let apply (contents: Contents) (changes: Change list) : Contents =
    changes
    |> List.fold
        (fun contents change ->
            match change with
            | Put(number, value) -> Map.add number value contents
            | Remove number -> Map.remove number contents
            | FlushAll -> Map.empty)
        contents

/// A few hundred writes that go through every level, with restarts between them.
let script: Step list =
    let random = Random 20
    let value () = Array.init (random.Next(1, 300)) (fun _ -> byte (random.Next 256))

    let change () =
        match random.Next 8 with
        | 0 -> Remove(random.Next keyCount)
        | _ -> Put(random.Next keyCount, value ())

    [
        for round in 1..36 do
            Write [ for _ in 0 .. random.Next 9 -> change () ]

            if round = 14 then
                Write [ FlushAll; change () ]

            if round % 11 = 0 then
                Flush

            if round % 15 = 0 then
                Reopen
    ]

/// Writes of one step, with their outcome.
[<Sealed>]
type Writes(changes: Change list) =
    inherit Submission()
    let isDone = new ManualResetEventSlim false
    let mutable refusal: string | null = null

    /// Why they were refused, once that is known.
    member _.Wait() : string option =
        isDone.Wait()
        Option.ofObj refusal

    /// Whether there is an outcome.
    member _.IsAnswered = isDone.IsSet

    override _.NeedsPuts = changes |> List.exists _.IsPut

    override _.Execute context =
        for change in changes do
            match change with
            | Put(number, value) -> context.Put(key number, value, ReadOnlySpan<byte>.Empty, 0u, 0u, 0UL) |> ignore
            | Remove number -> context.Delete(key number)
            | FlushAll -> context.FlushAll 0u

    override _.Completed outcome =
        refusal <- outcome.Refusal
        isDone.Set()

let optionsOn (disk: SimulatedDisk) (durability: Durability) : StoreOptions =
    StoreOptions(
        DataFolder = "/simulated",
        Durability = durability,
        EngineOptions = tinyOptions,
        FileSystem = disk.FileSystem,
        RetryDelay = TimeSpan.FromMilliseconds 1.0,
        ManifestEditBytesMax = 400L
    )

let openAs (durability: Durability) (disk: SimulatedDisk) : Store =
    Store.Open(optionsOn disk durability, NullLogger.Instance)

let openOn: SimulatedDisk -> Store = openAs Durability.Sync

/// All that a client would be told.
let read (store: Store) : Contents =
    [
        for number in 0 .. keyCount - 1 do
            match store.Get(key number) with
            | null -> ()
            | value -> number, value
    ]
    |> Map.ofList

/// Contents in short: keys, with the length and the first byte of their values.
let show (contents: Contents) : string =
    [
        for KeyValue(number, value) in contents -> $"{number}: {value.Length} from {Array.tryHead value}"
    ]
    |> String.concat ", "

/// The files that a store without work to do is made of; `None` while it has work to do.
let private filesOf (store: Store) (image: DiskImage) : string list option =
    let snapshot = store.Current

    if snapshot.Frozen.Length > 0 || (nextPlan store).IsSome then
        None
    else
        Some [
            "CURRENT"
            "RESERVE"
            Encoding.ASCII.GetString(image.Read "CURRENT").TrimEnd '\n'
            FileName.ofFile (StoreFile.Log snapshot.ActiveLog)
            for _, table in Version.tables snapshot.Version do
                FileName.ofFile (StoreFile.Table table.Number)
        ]

/// Waits until nothing is left to do, and then for the files to be those that are needed, and no others but excused ones.
let settle (isExcused: string -> bool) (label: string) (disk: SimulatedDisk) (store: Store) : unit =
    let differs () =
        let image = disk.Image
        // Decision logs are no part of the store: they come and go as the disk lets them.
        let found = image.Names |> Seq.filter (fun name -> not (name.EndsWith ".decisions")) |> Set.ofSeq

        match filesOf store image with
        | None -> Some "work is left to do"
        | Some files when Set.isSubset (Set.ofList files) found && Set.forall isExcused (found - Set.ofList files) ->
            None
        | Some files -> Some $"the files are %A{Set.toList found}, needed are %A{files}"

    if not (SpinWait.SpinUntil((fun () -> (differs ()).IsNone), TimeSpan.FromSeconds 30.0)) then
        failtest $"{label}: {differs ()}"
