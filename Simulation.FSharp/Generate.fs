namespace LsmFs.Simulation

open System
open LsmFs.Engine
open LsmFs.Host

/// Schedules at random. Every seed leaves out much of what may happen, another part each time, so that what is left happens often and in all orders (swarm
/// testing, Groce et al., 2012).
[<RequireQualifiedAccess>]
module Generate =

    /// What a seed makes of it.
    [<NoEquality; NoComparison>]
    type private Mix = {
        Random: Random
        KeyCount: int
        Durability: Durability
        Commands: (Random -> ClientCommand)[]
        CommandCountMax: int
        LengthMax: int
        /// Actions with their weights.
        Actions: (int * (Mix -> StepAction))[]
        ActionWeights: int
        Faults: FaultKind[]
        Losses: (Random -> PowerLoss)[]
        NestPercent: int
        FaultPercent: int
        StopPercent: int
        mutable NextWrite: int
    }

    let internal pick (random: Random) (choices: 'choice[]) : 'choice = choices[random.Next choices.Length]

    /// Some of the choices, at least one.
    let private some (random: Random) (percent: int) (choices: 'choice[]) : 'choice[] =
        let chosen = choices |> Array.filter (fun _ -> random.Next 100 < percent)

        if chosen.Length = 0 then
            [| pick random choices |]
        else
            chosen

    let private command (mix: Mix) : ClientCommand = (pick mix.Random mix.Commands) mix.Random

    let private submit (mix: Mix) : StepAction =
        let number = mix.NextWrite
        mix.NextWrite <- number + 1

        let count =
            1
            + (if mix.Random.Next 3 = 0 then
                   mix.Random.Next mix.CommandCountMax
               else
                   0)

        Submit(number, List.init count (fun _ -> command mix))

    let private loss (mix: Mix) : PowerLoss = (pick mix.Random mix.Losses) mix.Random

    let private action (mix: Mix) : StepAction =
        let mutable weight = mix.Random.Next mix.ActionWeights

        mix.Actions
        |> Array.find (fun (own, _) ->
            weight <- weight - own
            weight < 0)
        |> fun (_, make) -> make mix

    /// Few operations are those of a commit, many those of a compaction, so all orders of magnitude are as likely.
    let internal point (random: Random) : int = int (Math.Pow(2.0, random.NextDouble() * 7.0))

    let rec private step (mix: Mix) (depth: int) : Step =
        let random = mix.Random

        let rec choose () =
            match action mix with
            | Reopen
            | Crash _
            | LimitSpace _
            | UnlimitSpace when depth > 0 -> choose ()
            | action -> action

        let action = choose ()
        let interrupts = ResizeArray<Interrupt>()

        if depth < 2 then
            while random.Next 100 < mix.NestPercent do
                interrupts.Add {
                    At = point random
                    Event = Meanwhile(List.init (1 + random.Next 3) (fun _ -> step mix (depth + 1)))
                }

        if mix.Faults.Length > 0 && random.Next 100 < mix.FaultPercent then
            let times = if random.Next 4 = 0 then 1 + random.Next 4 else 1
            interrupts.Add { At = point random; Event = Fault(pick random mix.Faults, times) }

        if random.Next 1000 < mix.StopPercent then
            interrupts.Add { At = point random; Event = Stop(loss mix) }

        if random.Next 100 < 2 then
            interrupts.Add { At = point random; Event = Slow(random.Next 3000) }

        { Action = action; Interrupts = interrupts |> Seq.sortBy _.At |> List.ofSeq }

    /// The schedule of a seed.
    let schedule (seed: int) : Schedule =
        let random = Random seed

        let durability =
            pick random [|
                Durability.Sync
                Durability.Sync
                Durability.Sync
                Durability.Os
                Durability.Os
                Durability.Memory
            |]

        let keyCount = pick random [| 2; 4; 8; 16; 32 |]
        let lengthMax = pick random [| 20; 200; 200; 600; 3000 |]
        let key (random: Random) = random.Next keyCount
        let length (random: Random) = random.Next(1, lengthMax)
        let ttl (random: Random) = if random.Next 3 = 0 then 1 + random.Next 4 else 0

        let rare: (Random -> ClientCommand)[] = [|
            fun random -> Add(key random, length random)
            fun random -> Replace(key random, length random)
            fun random -> Append(key random, 1 + random.Next 40)
            fun random -> CompareAndSet(key random, length random, random.Next 3 > 0)
            fun random -> SetNumber(key random, random.Next 1000)
            fun random -> Increment(key random, random.Next 100)
            fun random -> Touch(key random, random.Next 5)
            fun random -> Set(key random, length random, 1 + random.Next 4)
            fun random -> FlushAll 0
            fun random -> FlushAll(1 + random.Next 3)
        |]

        let commands = [|
            for _ in 1..4 do
                fun random -> Set(key random, length random, ttl random)
            for _ in 1 .. random.Next 4 do
                fun random -> Delete(key random)
            yield! some random 30 rare
        |]

        let weight (rarely: int) (often: int) = if random.Next 4 = 0 then rarely else 1 + random.Next often

        let actions: (int * (Mix -> StepAction))[] = [|
            40, submit
            weight 0 10, (fun mix -> Get(key mix.Random))
            weight 0 2, (fun _ -> StepAction.Scan)
            weight 1 20, (fun _ -> Work StoreWork.Flush)
            weight 1 20, (fun _ -> Work StoreWork.Compaction)
            3, (fun _ -> Work StoreWork.Commit)
            weight 0 5, (fun _ -> Work StoreWork.Reclaim)
            weight 0 4, (fun _ -> FlushAndWait)
            weight 1 6, (fun mix -> Wait(mix.Random.Next 1500))
            (if random.Next 3 = 0 then 3 else 0), (fun _ -> Hold)
            3, (fun _ -> ReadHeld)
            2, (fun _ -> Release)
            weight 0 2, (fun _ -> Reopen)
            weight 0 3, (fun mix -> Crash(loss mix))
            (if random.Next 4 = 0 then 2 else 0), (fun mix -> LimitSpace(mix.Random.Next 6000))
            2, (fun _ -> UnlimitSpace)
        |]

        let losses: (Random -> PowerLoss)[] = [|
            fun _ -> Everything
            fun _ -> NothingUnsynced
            fun _ -> NamesOnly
            fun random -> AnyPrefix(random.Next())
            fun random -> AnyMixture(random.Next())
            fun random -> AnyMixture(random.Next())
        |]

        let faults: FaultKind[] =
            if random.Next 2 = 0 then
                [||]
            else
                [|
                    yield! some random 40 [| InputOutputError; OutOfSpace; ReadOnlyError; DoneButReportedFailed |]
                    if random.Next 3 = 0 then
                        FlippedBit(random.Next 4096)
                |]

        let mix = {
            Random = random
            KeyCount = keyCount
            Durability = durability
            Commands = commands
            CommandCountMax = 2 + random.Next 8
            LengthMax = lengthMax
            Actions = actions
            ActionWeights = actions |> Array.sumBy fst
            Faults = faults
            Losses = some random 60 losses
            NestPercent = pick random [| 0; 10; 25; 45 |]
            FaultPercent = pick random [| 3; 10; 25 |]
            StopPercent = pick random [| 0; 10; 40 |]
            NextWrite = 1
        }

        {
            Seed = seed
            Durability = durability
            KeyCount = keyCount
            MemtableSizeBytes = pick random [| 2000; 6000 |]
            Compression = pick random [| Compression.None; Compression.Lz4 |]
            Steps = List.init (10 + random.Next 110) (fun _ -> step mix 0)
        }
