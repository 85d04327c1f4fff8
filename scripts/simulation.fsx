// Crashes and failing disks, repeatable: dotnet fsi scripts/simulation.fsx [SEED]
//
// First a seed of the simulator that tests LsmFs itself, told step by step. Then a test as a user of the store would write it: money goes from account to account, and
// whatever happens to the machine, none is lost or made. That holds on a disk that does what disks do. On one that only says that it has synced it does not: the simulator
// finds that, and tells the shortest way there.

#load "engine.fsx"
#I "../Simulation.FSharp/bin/Release/net10.0"
#r "lsmfs.dll"
#r "LsmFs.Simulation.dll"

open System
open LsmFs.Host
open LsmFs.Simulation
open Engine

let seed =
    match arguments with
    | [] -> 221
    | [ text ] ->
        match Int32.TryParse text with
        | true, seed when seed >= 0 -> seed
        | _ -> fail $"{text} is no seed; take a number from 0 on"
    | _ -> fail "usage: dotnet fsi scripts/simulation.fsx [SEED]"

// ------------------------------------------------------------------------------------------------------ a seed of LsmFs's own

let schedule = Generate.schedule seed
printfn $"seed {seed}: {Schedule.size schedule.Steps} steps under --durability {schedule.Durability}"

for line in Simulator.trace schedule do
    printfn $"  {line}"

match Simulator.run (Statistics()) schedule with
| None -> printfn "every promise was kept"
| Some broken -> printfn $"BROKEN: {broken}"

// ------------------------------------------------------------------------------------------------------ a test of one's own

let accountCount = 5
let startMoney = 100

type Step =
    | Open
    | Transfer of fromAccount: int * toAccount: int * money: int

let key (account: int) : byte[] = Text.Encoding.ASCII.GetBytes $"account-{account}"

let moneyOf (store: Store) (account: int) : int voption =
    match store.Get(ReadOnlySpan(key account)) with
    | null -> ValueNone
    | bytes -> ValueSome(BitConverter.ToInt32(bytes, 0))

let put (account: int) (money: int) (batch: WriteBatch) : WriteBatch =
    batch.Put(ReadOnlySpan(key account), ReadOnlySpan(BitConverter.GetBytes money))

type Bank() =
    inherit Workload<Step>()

    override _.Next random =
        if random.Next 10 = 0 then
            Open
        else
            Transfer(random.Next accountCount, random.Next accountCount, 1 + random.Next 50)

    override _.Run(store, step) =
        match step with
        // All accounts, or none.
        | Open ->
            if (moneyOf store 0).IsNone then
                (WriteBatch(), [ 0 .. accountCount - 1 ])
                ||> List.fold (fun batch account -> put account startMoney batch)
                |> store.Write
        | Transfer(source, target, money) ->
            match moneyOf store source, moneyOf store target with
            | ValueSome has, ValueSome had when source <> target && has >= money ->
                WriteBatch() |> put source (has - money) |> put target (had + money) |> store.Write
            | _ -> ()

    override _.Check(store, past) =
        let accounts = [ 0 .. accountCount - 1 ] |> List.map (moneyOf store)
        let total = accounts |> List.sumBy (ValueOption.defaultValue 0)

        if accounts |> List.exists _.IsSome && total <> accountCount * startMoney then
            failwith $"there are {total} where {accountCount * startMoney} belong"

        if past |> List.exists (fun past -> past.Step = Open && past.IsAcknowledged) && accounts.Head.IsNone then
            failwith "the accounts were opened, and are gone"

/// The same on a disk that says that a log is synced, and has not done it.
type BankOnLyingDisk() =
    inherit Bank()

    override _.FaultOf operation =
        if operation.Kind = "sync" && operation.File.EndsWith ".wal" then
            Some SyncIgnored
        else
            None

let report (name: string) (workload: Workload<Step>) : unit =
    match Workload.find workload 1 200 with
    | None -> printfn $"{name}: 200 seeds, and every check held"
    | Some failure ->
        printfn $"{name}: seed {failure.Seed}: {failure.Message}"

        printfn
            $"made smaller, from {(Workload.schedule workload failure.Seed).Length} events to {failure.Schedule.Length}:"

        for event in failure.Schedule do
            match event.Disturbance with
            | Some disturbance -> printfn $"  {event.Action}, {disturbance}"
            | None -> printfn $"  {event.Action}"

        printfn "what happens:"

        for line in failure.Trace do
            printfn $"  {line}"

report "a disk that does what it says" (Bank())
report "a disk that lies" (BankOnLyingDisk())
