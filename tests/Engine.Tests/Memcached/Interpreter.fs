/// A whole memcached in a few lines, out of the engine's parser, decisions and replies and a map: what transcripts run against, and the
/// smallest example of how the pieces fit together. The host does the same with sockets and a store.
module LsmFs.Engine.Tests.Interpreter

open System
open System.Collections.Generic
open System.Text
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators

/// Bytes as text and back, one character a byte.
let latin (text: string) : byte[] = Encoding.Latin1.GetBytes text

let ofLatin (bytes: ReadOnlySpan<byte>) : string = Encoding.Latin1.GetString bytes

/// The version every interpreter answers.
let version = "1.6.99"

/// The state that all connections of an interpreter share. Mutable; one owner.
type Server(valueLengthMax: int) =
    let entries = Dictionary<string, Entry>()
    let counters = Dictionary<string, int64>()
    let accesses = Dictionary<string, Access>()
    let mutable sequence = 0UL
    let mutable flushedThrough = 0UL
    let mutable pendingFlushSeconds = 0u
    let mutable now = 1_800_000_000u

    /// Whether keys may be listed.
    member val IsCrawlerEnabled = true with get, set

    /// What clients may not do.
    member val Restrictions = { NoFlush = false; NoDump = false } with get, set

    member _.ValueLengthMax = valueLengthMax
    member _.NowSeconds = now

    /// The cas unique of the next write that brings none.
    member _.NextCas = sequence + 1UL

    /// How often each counter of `stats` was moved.
    member _.Counter(name: string) : int64 =
        match counters.TryGetValue name with
        | true, count -> count
        | _ -> 0L

    /// Lets time pass; a flush whose time has come happens.
    member _.Advance(seconds: int) : unit =
        now <- now + uint32 seconds

        if pendingFlushSeconds <> 0u && pendingFlushSeconds <= now then
            flushedThrough <- sequence
            pendingFlushSeconds <- 0u

    member _.Count(moved: Counters) : unit =
        for bit in 0 .. Counter.names.Length - 1 do
            if (uint32 moved >>> bit) &&& 1u = 1u then
                let name = Counter.names[bit]
                counters[name] <- 1L + (if counters.ContainsKey name then counters[name] else 0L)

    member _.ResetCounters() : unit = counters.Clear()

    /// The live entry of a key.
    member _.Find(key: string) : Entry voption =
        match entries.TryGetValue key with
        | true, entry when not (entry.IsExpired now) && entry.Sequence.Value > flushedThrough -> ValueSome entry
        | _ -> ValueNone

    /// When a key was read last.
    member _.AccessTo(key: string) : Access =
        match accesses.TryGetValue key with
        | true, access -> access
        | _ -> Unchecked.defaultof<Access>

    /// The item is read.
    member _.Touch(key: string) : unit = accesses[key] <- { LastSeconds = now; IsFetched = true }

    /// Every live entry in the order of the keys.
    member server.Live: Entry list =
        entries.Keys
        |> Seq.sortWith (fun left right -> String.CompareOrdinal(left, right))
        |> Seq.choose (fun key ->
            match server.Find key with
            | ValueSome entry -> Some entry
            | ValueNone -> None)
        |> List.ofSeq

    /// Carries out the decision of a command for one key.
    member server.Apply(key: string, change: Change) : unit =
        match change.Kind with
        | ChangeKind.Put ->
            sequence <- sequence + 1UL

            let header = {
                Kind = EntryKind.Value
                Sequence = SequenceNumber sequence
                Flags = change.Flags
                ExpirySeconds = change.ExpirySeconds
                Cas = change.Cas
                Marks = change.Marks
            }

            let buffer = ByteBuffer 64
            EntryFormat.appendParts buffer &header (span (latin key)) change.Head change.Tail |> ignore
            entries[key] <- { Buffer = buffer.ToArray(); Offset = 0 }
            accesses[key] <- Recency.after change.Access (server.AccessTo key) now
        | ChangeKind.Delete -> entries.Remove key |> ignore
        | ChangeKind.FlushAll when change.ExpirySeconds = 0u -> flushedThrough <- sequence
        | ChangeKind.FlushAll -> pendingFlushSeconds <- change.ExpirySeconds
        | _ -> ()

        server.Count change.Counters

/// One connection to a server: bytes in, bytes out. Mutable; one owner.
type Connection(server: Server) =
    let output = ByteBuffer 256
    let mutable state = ParserState()
    let mutable dialect = ValueNone
    let mutable unread: byte[] = [||]
    let mutable isClosed = false
    let mutable stepCount = 0

    let check (announced: int) (written: int) =
        if written <> announced then
            failwithf "%d bytes written where %d were announced" written announced

    let value (entry: Entry) (hasCas: bool) =
        let length = Reply.entryLength entry hasCas
        check length (Reply.writeEntry (output.Reserve length) entry hasCas)

    let statistic (name: string) (count: string) =
        let length = Reply.statLength name count
        check length (Reply.writeStat (output.Reserve length) name count)

    /// Appends what a writer writes into this much room.
    let append (room: int) (write: byte[] -> int) =
        let bytes: byte[] = Array.zeroCreate room
        output.Append(ReadOnlySpan<byte>(bytes, 0, write bytes))

    let code (dialect: Dialect) (input: byte[]) (reply: ReplyCode) =
        append Answer.codeLengthMax (fun bytes -> Answer.writeCode (bytes.AsSpan()) dialect (span input) reply)

    let versionLine (command: Command) (input: byte[]) =
        append 100 (fun bytes -> Answer.writeVersion (bytes.AsSpan()) &command (span input) version)

    let noop (command: Command) (input: byte[]) = code command.Dialect input ReplyCode.Ok

    let write (command: Command) (input: byte[]) =
        let keyScratch: byte[] = Array.zeroCreate ProtocolLimits.keyScratchLength
        let key = Answer.key &command (span input) (keyScratch.AsSpan())
        let name = ofLatin key

        let current =
            if Execute.needsCurrent command.Verb then
                server.Find name
            else
                ValueNone

        let scratch: byte[] = Array.zeroCreate ProtocolLimits.scratchLength

        let change =
            Execute.decide &command (span input) &current server.NowSeconds server.ValueLengthMax (scratch.AsSpan())

        let context = {
            NowSeconds = server.NowSeconds
            Cas = (if change.Cas = 0UL then server.NextCas else change.Cas)
            Access = server.AccessTo name
        }

        if change.Reply <> ReplyCode.None then
            Answer.appendChange output &command (span input) key &change &current &context

        server.Apply(name, change)

    /// A command that reads one key, unless it turns out to be a write.
    let fetch (command: Command) (input: byte[]) =
        let keyScratch: byte[] = Array.zeroCreate ProtocolLimits.keyScratchLength
        let name = ofLatin (Answer.key &command (span input) (keyScratch.AsSpan()))
        let current = server.Find name

        if Execute.changes &command (span input) current server.NowSeconds then
            write command input
        else
            server.Count(Execute.retrievalCounters command.Verb current.IsSome)

            match current with
            | ValueSome entry ->
                let context = {
                    NowSeconds = server.NowSeconds
                    Cas = entry.Cas
                    Access = server.AccessTo name
                }

                append Answer.headLengthMax (fun target ->
                    Answer.writeHitHead (target.AsSpan()) &command (span input) entry context)

                output.Append(Answer.hitValue &command entry)
                output.Append(Answer.hitTail &command entry)

                if Execute.isAccess &command then
                    server.Touch name
            | ValueNone ->
                append Answer.headLengthMax (fun target ->
                    Answer.writeMiss (target.AsSpan()) &command (span input) (span (latin name)))

    let retrieve (command: Command) (input: byte[]) =
        let keys = ReadOnlySpan<byte>(input, command.KeyOffset, command.KeysLength)
        let scratch: byte[] = Array.zeroCreate ProtocolLimits.scratchLength
        let hasCas = command.Verb = Verb.Gets || command.Verb = Verb.Gats
        let mutable position = 0
        let mutable key = ofLatin (Parser.nextKey keys &position)

        while key <> "" do
            let current = server.Find key

            if Execute.isWrite command.Verb then
                let change =
                    Execute.decide
                        &command
                        (span input)
                        &current
                        server.NowSeconds
                        server.ValueLengthMax
                        (scratch.AsSpan())

                server.Apply(key, change)
            else
                server.Count(Execute.retrievalCounters command.Verb current.IsSome)

                if current.IsSome then
                    server.Touch key

            match current with
            | ValueSome entry -> value entry hasCas
            | ValueNone -> ()

            key <- ofLatin (Parser.nextKey keys &position)

        output.Append(Reply.line ReplyCode.End)

    let list (keys: KeyList) =
        let mutable progress = KeyListProgress()
        let mutable rest = server.Live

        while not rest.IsEmpty
              && KeyListing.tryAppend keys output rest.Head (server.AccessTo(ofLatin rest.Head.Key)) &progress do
            rest <- rest.Tail

    let stats (command: Command) (input: byte[]) =
        let arguments = ReadOnlySpan<byte>(input, command.KeyOffset, command.KeysLength)
        let request = StatsRequest.understand arguments server.Restrictions

        if request.Topic = StatsTopic.Reset then
            server.ResetCounters()

        if request.Topic = StatsTopic.General then
            for name in Counter.names do
                statistic name (string (server.Counter name))

        if request.Topic = StatsTopic.Cachedump then
            list (KeyListing.ofStats request)

        output.Append(Reply.line request.Reply)

    /// `stats` in the binary protocol: what is appended for the text protocol, as packets.
    let binaryStats (command: Command) (input: byte[]) =
        let start = output.Length
        stats command input
        let text = latin ((ofLatin output.Written).Substring start)
        output.Truncate start

        append (BinaryReply.statisticsLengthMax text.Length) (fun bytes ->
            BinaryReply.writeStatistics (bytes.AsSpan()) (span input) (span text))

    let crawl (command: Command) (input: byte[]) =
        let arguments = ReadOnlySpan<byte>(input, command.KeyOffset, command.KeysLength)
        let request = CrawlerRequest.understand arguments server.IsCrawlerEnabled server.Restrictions

        match request.Action with
        | CrawlerAction.Enable -> server.IsCrawlerEnabled <- true
        | CrawlerAction.Disable -> server.IsCrawlerEnabled <- false
        | CrawlerAction.Metadump
        | CrawlerAction.Mgdump ->
            output.Append(Reply.line request.Start)
            list (KeyListing.ofCrawler request)
        | _ when not command.NoReply -> output.Append(Reply.line request.Start)
        | _ -> ()

        let isList = request.Action = CrawlerAction.Metadump || request.Action = CrawlerAction.Mgdump

        if isList || not command.NoReply then
            output.Append(Reply.line request.Reply)

    let execute (command: Command) (input: byte[]) =
        match command.Verb with
        | Verb.Get
        | Verb.Gets
        | Verb.Gat
        | Verb.Gats when command.Dialect = Dialect.Text -> retrieve command input
        | Verb.Version -> versionLine command input
        | Verb.Noop -> noop command input
        | Verb.Quit when command.Dialect = Dialect.Binary ->
            noop command input
            isClosed <- true
        | Verb.Verbosity -> output.Append(Reply.line (if command.NoReply then ReplyCode.None else ReplyCode.Ok))
        | Verb.Stats when command.Dialect = Dialect.Binary -> binaryStats command input
        | Verb.Stats -> stats command input
        | Verb.LruCrawler -> crawl command input
        | Verb.CacheMemlimit ->
            let reply = AdminRequest.memoryLimit (uint32 command.Number) (64L <<< 20)
            output.Append(Reply.line (if command.NoReply then ReplyCode.None else reply))
        | Verb.Shutdown ->
            let reply = AdminRequest.shutdown &command false
            output.Append(Reply.line (if command.NoReply then ReplyCode.None else reply))
        | Verb.RefreshCerts -> output.Append(Reply.line ReplyCode.TlsNotEnabled)
        | Verb.Quit -> isClosed <- true
        | _ when Execute.isFetch &command -> fetch command input
        | _ -> write command input

    member _.IsClosed = isClosed

    /// Steps the parser took that were not NeedMore.
    member _.StepCount = stepCount

    /// Bytes not yet consumed.
    member _.UnreadLength = unread.Length

    /// Bytes of a refused value still to be dropped.
    member _.SwallowBytes = state.SwallowBytes

    /// What was answered so far.
    member _.Output: string = ofLatin output.Written

    /// Takes bytes from the client.
    member _.Receive(bytes: byte[]) : unit =
        unread <- Array.append unread bytes

        if dialect.IsNone && unread.Length > 0 then
            let isBinary = BindingProtocol.isBinary BindingProtocol.Negotiating unread[0]
            dialect <- ValueSome(if isBinary then Dialect.Binary else Dialect.Text)

        let mutable offset = 0
        let mutable isWaiting = isClosed

        while not isWaiting do
            let input = unread[offset..]
            let mutable command = Unchecked.defaultof<Command>

            let mutable step =
                if dialect = ValueSome Dialect.Binary then
                    BinaryParser.parse server.ValueLengthMax &state (span input) &command
                else
                    Parser.parse server.ValueLengthMax &state (span input) &command

            AdminRequest.restrict server.Restrictions &step &command

            match step.Kind with
            | ParseStepKind.Parsed -> execute command input
            | ParseStepKind.Rejected ->
                server.Count step.Counters

                if step.Reply <> ReplyCode.None then
                    code dialect.Value input step.Reply
            | ParseStepKind.RejectedForGood ->
                code dialect.Value input step.Reply
                isClosed <- true
            | ParseStepKind.Close -> isClosed <- true
            | _ ->
                if step.ConsumedBytes <> 0 then
                    failwith "NeedMore consumed bytes"

                if step.WantedBytes <> 0 && step.WantedBytes <= input.Length then
                    failwith "NeedMore wants what it has"

            if step.Kind = ParseStepKind.Parsed || step.Kind = ParseStepKind.Rejected then
                if step.ConsumedBytes <= 0 || step.ConsumedBytes > input.Length then
                    failwithf "%d bytes consumed of %d" step.ConsumedBytes input.Length

                stepCount <- stepCount + 1

            offset <- offset + step.ConsumedBytes
            isWaiting <- isClosed || step.Kind = ParseStepKind.NeedMore

        unread <- unread[offset..]

/// What a fresh connection of a fresh server answers, and whether it closed.
let answerTo (valueLengthMax: int) (pieces: byte[] list) : string * bool =
    let connection = Connection(Server valueLengthMax)
    pieces |> List.iter connection.Receive
    connection.Output, connection.IsClosed
