namespace LsmFs.Server.Tests

open System
open System.IO
open System.Threading.Tasks

/// Counters that all connections increment together: what was answered bounds what a server may hold, whoever asked.
[<Sealed>]
type SharedCounter() =
    let gate = obj ()
    let mutable highestSeen = 0UL
    let mutable sentCount = 0UL

    member _.Name = "shared-counter"

    /// An increment by one is about to be sent.
    member _.Send() : unit = lock gate (fun () -> sentCount <- sentCount + 1UL)

    /// Somebody was told this value.
    member _.See(value: uint64) : unit = lock gate (fun () -> highestSeen <- max highestSeen value)

    /// Takes what a recovered server holds; the increments sent up to now will not happen any more.
    member _.Recover(value: uint64) : Result<unit, string> =
        lock gate (fun () ->
            if value < highestSeen || value > sentCount then
                Error
                    $"the shared counter is {value}, it had been seen at {highestSeen}, and {sentCount} increments were sent"
            else
                highestSeen <- value
                sentCount <- value
                Ok())

/// A connection's stream of random requests on its own keys, checked answer by answer. The model outlives connections and servers.
[<Sealed>]
type KillWorker(index: int, seed: int, shared: SharedCounter) =
    let keyCount = 60
    // The last keys have jobs of their own.
    let progressKey = keyCount - 1
    let numberKeys = 8
    let batchLengthMax = 40
    let random = Random(seed * 1000 + index)
    let model = KillModel keyCount
    let known: KnownUnique voption[] = Array.create keyCount ValueNone
    let mutable progress = 0UL
    let mutable highestProgressSeen = 0UL

    let name (key: int) = $"worker-{index}:{key}"

    let value (length: int) : byte[] =
        let bytes: byte[] = Array.zeroCreate length
        random.NextBytes bytes
        // A letter, so that it is no number, whatever it is joined with.
        bytes[0] <- byte 'a' + bytes[0] % 26uy
        let stamp = TextClient.Bytes $"w{index} {random.Next()} "
        Buffer.BlockCopy(stamp, 0, bytes, 1, min stamp.Length (length - 1))
        bytes

    let randomValue () : byte[] =
        match random.Next 100 with
        | roll when roll < 10 -> value 1
        | roll when roll < 70 -> value (random.Next(2, 300))
        | roll when roll < 95 -> value (random.Next(300, 8_000))
        | _ -> value (random.Next(8_000, 130_000))

    let flags () =
        if random.Next 2 = 0 then
            0u
        else
            uint32 (random.NextInt64 4_294_967_296L)

    let randomOperation (key: int) : Operation =
        match random.Next 100 with
        | roll when roll < 30 -> Set(flags (), random.Next 20 = 0, randomValue ())
        | roll when roll < 38 -> Add(flags (), randomValue ())
        | roll when roll < 42 -> Replace(flags (), randomValue ())
        | roll when roll < 50 -> Append(value (random.Next(1, 100)))
        | roll when roll < 53 -> Prepend(value (random.Next(1, 100)))
        | roll when roll < 65 ->
            match known[key] with
            | ValueSome unique -> Cas(flags (), randomValue (), unique)
            | ValueNone -> Gets
        | roll when roll < 75 -> Delete
        | roll when roll < 80 -> Touch(random.Next 10 = 0)
        | _ -> Gets

    let nextOperation () : struct (int * Operation) =
        match random.Next 10 with
        | 0 ->
            progress <- progress + 1UL
            struct (progressKey, Set(0u, false, TextClient.Bytes(string progress)))
        | 1
        | 2 ->
            let key = random.Next numberKeys

            match model.Latest key with
            | ValueSome _ when random.Next 20 > 0 -> struct (key, Incr(uint64 (random.Next 1000)))
            | _ -> struct (key, Set(flags (), false, TextClient.Bytes(string (random.Next 1000))))
        | _ ->
            let key = random.Next(numberKeys, progressKey)

            match model.Latest key with
            // Joined values stay within what a server takes.
            | ValueSome stored when stored.Value.Length > 300_000 -> struct (key, Delete)
            | _ -> struct (key, randomOperation key)

    let fail (request: Request) (expected: Answer) (found: string) =
        raise (
            InvalidDataException
                $"worker {index}, {Request.describe request}: expected {expected}, got {found}; {model.History request.Key}"
        )

    let readAnswer (client: TextClient) (request: Request) (expected: Answer) : unit =
        match expected with
        | Line line ->
            let found = client.ReadLine()

            if found <> line then
                fail request expected found
        | Missing ->
            match client.ReadItems() with
            | [] -> ()
            | items -> fail request expected $"{items}"
        | Found stored ->
            match client.ReadItems() with
            | [ item ] when
                item.Key = name request.Key && stored = { Flags = item.Flags; Value = item.Value; Version = 0L }
                ->
                known[request.Key] <- ValueSome { Unique = item.Cas; OfVersion = stored.Version }
            | items -> fail request expected $"{items |> List.map (fun item -> item.Value.Length, item.Flags)}"

    /// The model of the worker's keys.
    member _.Model = model

    /// The key whose value only grows.
    member _.ProgressKey: string = name progressKey

    /// Somebody else read this value of the progress key.
    member _.SeeProgress(value: uint64) : unit = highestProgressSeen <- max highestProgressSeen value

    /// Sends batches and checks their answers, until the connection breaks (`IOException`) or an answer is wrong (`InvalidDataException`).
    member _.Run(client: TextClient) : unit =
        while true do
            let count = random.Next(1, batchLengthMax)
            use bytes = new MemoryStream()
            let answers = ResizeArray<struct (Request * Answer) voption>()

            for _ in 1..count do
                if random.Next 20 = 0 then
                    shared.Send()
                    bytes.Write(ReadOnlySpan(TextClient.Bytes $"incr {shared.Name} 1\r\n"))
                    answers.Add ValueNone
                else
                    let struct (key, operation) = nextOperation ()
                    let isSilent = not operation.IsGets && random.Next 4 = 0
                    let struct (request, answer) = model.Send(key, operation, isSilent)
                    bytes.Write(ReadOnlySpan(Request.encode (name key) request))

                    if not isSilent then
                        answers.Add(ValueSome(struct (request, answer)))

            // Answers are read while requests are still being sent, so that neither side can wait for the other for ever.
            let sending = client.SendAsync(bytes.ToArray().AsMemory())

            for expected in answers do
                match expected with
                | ValueNone -> shared.See(UInt64.Parse(client.ReadLine()))
                | ValueSome(struct (request, answer)) ->
                    readAnswer client request answer
                    model.Acknowledge request

            sending.GetAwaiter().GetResult()

    /// Reads every key from a recovered server and holds it against the model; returns how many unacknowledged requests had happened.
    member _.Verify(client: TextClient) : Result<int, string> =
        let pending = model.Outstanding |> Seq.map _.Key |> Set.ofSeq
        let observed = Array.create keyCount ValueNone
        let uniques = Array.create keyCount 0UL

        for keys in Array.chunkBySize 16 [| 0 .. keyCount - 1 |] do
            client.Send("gets " + String.Join(' ', Array.map name keys) + "\r\n")

            for item in client.ReadItems() do
                let key = int (item.Key.Substring(item.Key.IndexOf ':' + 1))
                uniques[key] <- item.Cas
                observed[key] <- ValueSome { Flags = item.Flags; Value = item.Value; Version = 0L }

        let lostUnique =
            Seq.tryFind
                (fun key ->
                    match known[key], model.Latest key with
                    | ValueSome unique, ValueSome stored ->
                        not (pending.Contains key)
                        && stored.Version = unique.OfVersion
                        && uniques[key] <> unique.Unique
                    | _ -> false)
                (seq { 0 .. keyCount - 1 })

        match model.Recover observed with
        | Error reason -> Error $"worker {index}: {reason}"
        | Ok _ when lostUnique.IsSome -> Error $"worker {index}: the cas unique of key {lostUnique.Value} has changed"
        | Ok happened ->
            for key in 0 .. keyCount - 1 do
                known[key] <-
                    model.Latest key
                    |> ValueOption.map (fun stored -> { Unique = uniques[key]; OfVersion = stored.Version })

            progress <-
                match observed[progressKey] with
                | ValueSome stored -> UInt64.Parse(ReadOnlySpan<byte> stored.Value)
                | ValueNone -> 0UL

            if progress < highestProgressSeen then
                Error $"worker {index}: its progress is {progress}, and somebody had read {highestProgressSeen}"
            else
                Ok happened
