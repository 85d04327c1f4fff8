namespace LsmFs.Server.Tests

open System
open System.Diagnostics
open System.IO
open System.Threading

/// One connection's share of a soak: keys of its own, each value known from the key and the number of its write, every answer verified.
/// The worker outlives connections and servers. Not thread-safe, but for `Pause`.
[<Sealed>]
type SoakWorker(index: int, seed: int) =
    let keyCount = 5000
    let expiringKeyCount = 40
    let batchLength = 24
    let random = Random(seed * 100 + index)
    // The last write of each key; 0 for none there.
    let versions: int64[] = Array.zeroCreate keyCount
    let uniques: uint64[] = Array.zeroCreate keyCount
    let mutable lastVersion = 0L
    // What keys may hold besides, since the server died before it answered.
    let mutable uncertain: struct (int * int64) list = []
    // Values that expire: what was stored, for how long, before and after which moment.
    let expiring: struct (int64 * int * TimeSpan * TimeSpan) voption[] =
        Array.create expiringKeyCount ValueNone

    let clock = Stopwatch.StartNew()
    let mutable operationCount = 0L
    let mutable isPaused = false

    let name (key: int) = $"soak-{index}-{key}"
    let expiringName (key: int) = $"expiring-{index}-{key}"

    let valueOf (key: int) (version: int64) : byte[] =
        let length = 20 + int ((int64 key * 7919L + version * 104729L) % 1500L)
        let text = TextClient.Bytes $"{index}:{key}:{version}:"
        Array.init length (fun position -> text[position % text.Length])

    let fail (text: string) = raise (InvalidDataException $"worker {index}: {text}")

    let expectLine (client: TextClient) (what: string) (expected: string) : unit =
        let line = client.ReadLine()

        if line <> expected then
            fail $"{what}: {line} in place of {expected}"

    let expectValue (client: TextClient) (key: int) (version: int64) : unit =
        match client.ReadItems() with
        | [] when version = 0L -> ()
        | [ item ] when version <> 0L && item.Value = valueOf key version ->
            // Unless the same batch has written the key since.
            if versions[key] = version then
                uniques[key] <- item.Cas
        | items ->
            fail $"key {key} should hold write {version}, holds {items |> List.map (fun item -> item.Value.Length)}"

    let write (batch: Stream) (text: string) (value: byte[] voption) =
        batch.Write(ReadOnlySpan(TextClient.Bytes text))

        match value with
        | ValueSome value ->
            batch.Write(ReadOnlySpan value)
            batch.Write(ReadOnlySpan "\r\n"B)
        | ValueNone -> ()

    let nextVersion () =
        lastVersion <- lastVersion + 1L
        lastVersion

    /// Writes one request, and gives what to do with its answer. `after` collects what the key will hold.
    let request (batch: Stream) (after: ResizeArray<struct (int * int64)>) : TextClient -> unit =
        let key = random.Next keyCount
        let current = versions[key]

        let store verb exptime tail (expected: string) isStored =
            let version = nextVersion ()
            let value = valueOf key version
            write batch $"{verb} {name key} 0 {exptime} {value.Length}{tail}\r\n" (ValueSome value)

            if isStored then
                versions[key] <- version
                uniques[key] <- 0UL
                after.Add(struct (key, version))

            fun client -> expectLine client $"{verb} of key {key}" expected

        match random.Next 100 with
        | roll when roll < 30 -> store "set" 0 "" "STORED" true
        | roll when roll < 34 -> store "set" 1000 "" "STORED" true
        | roll when roll < 38 && uniques[key] <> 0UL -> store "cas" 0 $" {uniques[key]}" "STORED" true
        | roll when roll < 40 && current <> 0L -> store "cas" 0 " 18446744073709551615" "EXISTS" false
        | roll when roll < 48 ->
            write batch $"delete {name key}\r\n" ValueNone
            versions[key] <- 0L
            uniques[key] <- 0UL
            after.Add(struct (key, 0L))
            let expected = if current <> 0L then "DELETED" else "NOT_FOUND"
            fun client -> expectLine client $"delete of key {key}" expected
        | _ ->
            write batch $"gets {name key}\r\n" ValueNone
            fun client -> expectValue client key current

    /// A value that expires is there until its time, and gone after it; seconds are all that the protocol knows.
    let useExpiring (client: TextClient) : unit =
        let key = random.Next expiringKeyCount
        let sent = clock.Elapsed

        match expiring[key] with
        | ValueNone ->
            let version = nextVersion ()
            let seconds = random.Next(2, 5)
            let answer = client.Store($"set {expiringName key} 0 {seconds}", valueOf key version)

            if answer <> "STORED" then
                fail $"an expiring value: {answer}"

            expiring[key] <- ValueSome(struct (version, seconds, sent, clock.Elapsed))
        | ValueSome(struct (version, seconds, before, after)) ->
            let item = client.TryGet(expiringName key)
            let second = TimeSpan.FromSeconds 1.

            match item with
            | Some item when item.Value <> valueOf key version -> fail $"expiring key {key} holds another value"
            | Some _ when sent - after > second * float (seconds + 2) -> fail $"key {key} should have expired"
            | None when clock.Elapsed - before < second * float (seconds - 1) -> fail $"key {key} has expired too soon"
            | Some _ -> ()
            | None -> expiring[key] <- ValueNone

    let runBatch (client: TextClient) : unit =
        use batch = new MemoryStream()
        let after = ResizeArray<struct (int * int64)>()
        let before = Array.copy versions
        let answers = [ for _ in 1..batchLength -> request batch after ]

        try
            let sending = client.SendAsync(batch.ToArray().AsMemory())

            for answer in answers do
                answer client

            sending.GetAwaiter().GetResult()
            operationCount <- operationCount + int64 batchLength
        with :? IOException ->
            // Each of the batch's writes may have happened, and nothing else.
            uncertain <- [
                for struct (key, version) in after do
                    struct (key, version)
                    struct (key, before[key])
            ]

            reraise ()

        if random.Next 4 = 0 then
            // A set whose answer is lost leaves nothing to expect.
            let expected = Array.copy expiring

            try
                useExpiring client
            with :? IOException ->
                for key in 0 .. expiringKeyCount - 1 do
                    if expected[key].IsNone then
                        expiring[key] <- ValueNone

                reraise ()

    /// Requests answered and verified so far.
    member _.OperationCount = Volatile.Read &operationCount

    /// Bytes of the values that are there.
    member _.LiveBytes: int64 =
        Array.indexed versions
        |> Array.sumBy (fun (key, version) ->
            if version = 0L then
                0L
            else
                int64 (valueOf key version).Length)

    /// Lets `Run` return after the batch that is under way.
    member _.Pause() : unit = Volatile.Write(&isPaused, true)

    /// Somebody has flushed everything, while this worker was paused.
    member _.Forget() : unit =
        Array.fill versions 0 keyCount 0L
        Array.fill uniques 0 keyCount 0UL
        Array.fill expiring 0 expiringKeyCount ValueNone

    /// Works until `Pause`, or until the connection breaks (`IOException`). Wrong answers are an `InvalidDataException`.
    member _.Run(client: TextClient) : unit =
        Volatile.Write(&isPaused, false)

        while not (Volatile.Read &isPaused) do
            runBatch client

    /// After a restart: every key is read, and what was under way at the end of the last server is settled.
    member _.Verify(client: TextClient) : unit =
        let settled = uncertain |> List.groupBy (fun struct (key, _) -> key) |> Map.ofList
        let stored = Collections.Generic.Dictionary<string, Item>()

        for keys in Seq.chunkBySize 50 (seq { 0 .. keyCount - 1 }) do
            client.Send("gets " + String.Join(' ', Array.map name keys) + "\r\n")

            for item in client.ReadItems() do
                stored[item.Key] <- item

        for key in 0 .. keyCount - 1 do
            let others = settled |> Map.tryFind key |> Option.defaultValue []
            let allowed = versions[key] :: [ for struct (_, version) in others -> version ]
            uniques[key] <- 0UL

            match stored.TryGetValue(name key) with
            | false, _ when List.contains 0L allowed -> versions[key] <- 0L
            | false, _ -> fail $"after a restart key {key} is gone; allowed are the writes {allowed}"
            | true, item ->
                match allowed |> List.tryFind (fun version -> version <> 0L && item.Value = valueOf key version) with
                | Some version -> versions[key] <- version
                | None ->
                    fail $"after a restart key {key} holds {item.Value.Length} bytes; allowed are the writes {allowed}"

        uncertain <- []
