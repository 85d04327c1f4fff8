/// Versions written as lines of text, with the plans they lead to.
///
///     # Why this case is here.
///     options trigger=2 max=12 l1=1000 multiplier=10 levels=4
///     now 1000
///     flush 7                    everything up to this sequence number is flushed; `flush 7 pending 2000`: and everything is at that time
///     quarantined 3
///     running LevelZeroFull: merge L0 2 1 to L1
///     L0 6 e..k 100 entries=10 tombstones=5 expiry=900-1100 sequence=6
///
///     LevelOverTarget: merge ...
///
/// Below the empty line: the plans that can be begun one after the other while the ones before are carried out, and the time to look again.
module LsmFs.Engine.Tests.PlanScript

open System
open System.IO
open System.Text
open LsmFs.Engine

/// A script: what it says above the empty line as it is, and what it expects.
type Script = { Name: string; Given: string list; Expected: string list }

let private defaults = {
    Options.ofBudget (64L <<< 20) with
        LevelZeroTableCountTrigger = 2
        LevelZeroTableCountMax = 12
        LevelOneSizeBytes = 1000L
        LevelSizeMultiplier = 10
        LevelCount = 4
}

let private words (line: string) : string list = line.Split(' ', StringSplitOptions.RemoveEmptyEntries) |> List.ofArray

let private pair (separator: string) (word: string) : string * string =
    match word.IndexOf(separator, StringComparison.Ordinal) with
    | -1 -> failwith $"'{word}' has no '{separator}'"
    | at -> word[.. at - 1], word[at + separator.Length ..]

let private withOption (options: Options) (word: string) : Options =
    match pair "=" word with
    | "trigger", value -> { options with LevelZeroTableCountTrigger = int value }
    | "max", value -> { options with LevelZeroTableCountMax = int value }
    | "l1", value -> { options with LevelOneSizeBytes = int64 value }
    | "multiplier", value -> { options with LevelSizeMultiplier = int value }
    | "levels", value -> { options with LevelCount = int value }
    | name, _ -> failwith $"no option '{name}'"

let private table (number: string) (range: string) (sizeBytes: string) (rest: string list) : TableMeta =
    let smallest, largest = pair ".." range
    let entries = max 1L (int64 sizeBytes / 100L)

    let plain = {
        Number = FileNumber(uint64 number)
        SizeBytes = int64 sizeBytes
        Properties = {
            EntryCount = entries
            TombstoneCount = 0L
            KeyBytes = entries
            ValueBytes = entries
            SmallestKey = Encoding.ASCII.GetBytes smallest
            LargestKey = Encoding.ASCII.GetBytes largest
            SmallestSequence = SequenceNumber 1UL
            LargestSequence = SequenceNumber(uint64 number)
            EarliestExpirySeconds = 0u
            LatestExpirySeconds = 0u
        }
    }

    let withField (table: TableMeta) (word: string) : TableMeta =
        let properties = table.Properties

        let properties =
            match pair "=" word with
            | "entries", value -> { properties with EntryCount = int64 value }
            | "tombstones", value -> { properties with TombstoneCount = int64 value }
            | "sequence", value -> { properties with LargestSequence = SequenceNumber(uint64 value) }
            | "expiry", value ->
                let earliest, latest = pair "-" value

                {
                    properties with
                        EarliestExpirySeconds = uint32 earliest
                        LatestExpirySeconds = (if latest = "" then 0u else uint32 latest)
                }
            | name, _ -> failwith $"no field '{name}'"

        { table with Properties = properties }

    rest |> List.fold withField plain

/// What the script gives, as the planner takes it.
let read (script: Script) : Options * PickingInput =
    let lines = script.Given |> List.filter (fun line -> not (line.StartsWith '#'))

    let options =
        lines
        |> List.collect (fun line ->
            match words line with
            | "options" :: fields -> fields
            | _ -> [])
        |> List.fold withOption defaults

    let version =
        lines
        |> List.choose (fun line ->
            match words line with
            | level :: number :: range :: size :: rest when level.StartsWith 'L' ->
                Some(int level[1..], table number range size rest)
            | _ -> None)
        |> fun added -> Version.apply { VersionEdit.empty with Added = added } (Version.empty options.LevelCount)

    let withLine (input: PickingInput) (line: string) : PickingInput =
        match words line with
        | [ "now"; seconds ] -> { input with NowSeconds = uint32 seconds }
        | "flush" :: through :: rest -> {
            input with
                Flush = {
                    Through = SequenceNumber(uint64 through)
                    PendingAtSeconds =
                        (match rest with
                         | [ "pending"; at ] -> uint32 at
                         | _ -> 0u)
                }
          }
        | "quarantined" :: numbers -> { input with Quarantined = numbers |> List.map (uint64 >> FileNumber) }
        | "running" :: _ ->
            match CompactionPlan.parse version (line.Substring "running ".Length) with
            | Some plan -> { input with Running = input.Running @ [ plan ] }
            | None -> failwith $"no plan: {line}"
        | "options" :: _ -> input
        | level :: _ when level.StartsWith 'L' -> input
        | _ -> failwith $"cannot read: {line}"

    options, lines |> List.fold withLine (PickingInput.ofVersion 0u version)

/// Every plan that can be begun while those before it are carried out.
let plansOf (options: Options) (input: PickingInput) : CompactionPlan list =
    let rec go (input: PickingInput) (plans: CompactionPlan list) =
        match Picking.pick options input with
        | Some plan when plans.Length > 200 -> failwith $"{CompactionPlan.print plan}, and never an end"
        | Some plan -> go { input with Running = plan :: input.Running } (plan :: plans)
        | None -> List.rev plans

    go input []

/// What the planner says to a script.
let answer (script: Script) : string list =
    let options, input = read script

    [
        match plansOf options input with
        | [] -> "nothing"
        | plans -> yield! plans |> List.map CompactionPlan.print

        match Picking.wakeAtSeconds input with
        | ValueSome at -> $"look again at {at}"
        | ValueNone -> ()
    ]

let private load (path: string) : Script =
    let lines = File.ReadAllLines path |> List.ofArray
    let given = lines |> List.takeWhile (fun line -> line <> "")

    {
        Name = Path.GetFileName path |> string
        Given = given
        Expected = lines |> List.skip (min lines.Length (given.Length + 1))
    }

/// All scripts of the folder.
let all: Script list =
    Directory.GetFiles(Path.Combine(AppContext.BaseDirectory, "Compaction", "plans"), "*.txt")
    |> Array.sort
    |> Array.map load
    |> List.ofArray

/// Writes what the planner says now into the sources of the scripts.
let rewrite () : unit =
    let rec sources (folder: DirectoryInfo | null) : string =
        match folder with
        | null -> failwith "the sources of the scripts are not above the tests"
        | folder ->
            let candidate = Path.Combine(folder.FullName, "tests", "Engine.Tests", "Compaction", "plans")

            if Directory.Exists candidate && File.Exists(Path.Combine(folder.FullName, "LsmFs.sln")) then
                candidate
            else
                sources folder.Parent

    let folder = sources (DirectoryInfo AppContext.BaseDirectory)

    for script in all do
        File.WriteAllLines(Path.Combine(folder, script.Name), script.Given @ [ "" ] @ answer script)
