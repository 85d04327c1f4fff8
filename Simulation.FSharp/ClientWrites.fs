namespace LsmFs.Simulation

open System
open System.Collections.Generic
open System.Text
open LsmFs.Engine
open LsmFs.Host

/// What a command came to when it was executed.
[<Struct; NoEquality; NoComparison>]
type internal Executed =
    | Decided of sequence: uint64 * reply: ReplyCode
    /// The current value could not be read, and the command was refused.
    | NotRead
    /// There was no space for it.
    | NotAdmitted

/// The commands of a client, carried out as the server does it.
[<Sealed>]
type internal ClientWrites
    (
        number: int,
        commands: ClientCommand[],
        uniques: uint64[],
        executing: ClientWrites -> unit,
        completed: ClientWrites -> CommitOutcome -> unit
    ) =
    inherit Submission()

    let values =
        commands
        |> Array.mapi (fun index command ->
            match command with
            | Set(_, length, _)
            | Add(_, length)
            | Replace(_, length)
            | Append(_, length)
            | CompareAndSet(_, length, _) -> Item.value number index length
            | SetNumber(_, number) -> Encoding.ASCII.GetBytes(string number)
            | _ -> [||])

    let results = List<Executed>()
    let mutable nowSeconds = 0u
    let mutable lastSequence = 0UL
    let mutable isInFlush = false

    let verbOf (command: ClientCommand) : Verb =
        match command with
        | Set _
        | SetNumber _ -> Verb.Set
        | Add _ -> Verb.Add
        | Replace _ -> Verb.Replace
        | Append _ -> Verb.Append
        | CompareAndSet _ -> Verb.Cas
        | Increment _ -> Verb.Incr
        | Touch _ -> Verb.Touch
        | Delete _ -> Verb.Delete
        | FlushAll _ -> Verb.FlushAll

    let execute (context: WriteContext) (index: int) : Executed =
        let command = commands[index]
        let key = Item.key (Command.keyOf command)
        let input = Array.append key values[index]

        let parsed: Command = {
            Verb = verbOf command
            Dialect = Dialect.Text
            NoReply = false
            KeyOffset = 0
            KeyLength = key.Length
            KeysLength = key.Length
            Flags = uint32 (Command.keyOf command)
            Exptime =
                (match command with
                 | Set(_, _, ttl)
                 | Touch(_, ttl) -> ttl
                 | FlushAll delay -> delay
                 | _ -> 0)
            Number =
                (match command with
                 | CompareAndSet _ -> uniques[index]
                 | Increment(_, delta) -> uint64 delta
                 | _ -> 0UL)
            ValueOffset = key.Length
            ValueLength = values[index].Length
        }

        let mutable current = ValueNone
        let mutable isRead = true

        if Execute.needsCurrent parsed.Verb then
            let mutable entry = Unchecked.defaultof<Entry>

            match context.Find(ReadOnlySpan<byte> key, &entry) with
            | LookupOutcome.Found -> current <- ValueSome entry
            | LookupOutcome.Unreadable -> isRead <- false
            | _ -> ()

        if not isRead then
            NotRead
        else
            let scratch: byte[] = Array.zeroCreate ProtocolLimits.scratchLength

            let change =
                Execute.decide
                    &parsed
                    (ReadOnlySpan<byte> input)
                    &current
                    context.NowSeconds
                    (1 <<< 20)
                    (Span<byte> scratch)

            if not context.AdmitsPuts && not (Execute.isRemoval change.Kind) then
                NotAdmitted
            else
                let sequence = context.NextSequence

                match change.Kind with
                | ChangeKind.Put ->
                    context.Put(
                        ReadOnlySpan<byte> key,
                        change.Head,
                        change.Tail,
                        change.Flags,
                        change.ExpirySeconds,
                        change.Cas,
                        change.Marks
                    )
                    |> ignore
                | ChangeKind.Delete -> context.Delete(ReadOnlySpan<byte> key)
                | ChangeKind.FlushAll -> context.FlushAll change.ExpirySeconds
                | _ -> ()

                Decided(sequence, change.Reply)

    member _.Number = number
    member _.IsRemoval = commands |> Array.forall Command.isRemoval
    /// Whether a command could not read what it needed.
    member _.IsUnreadable = results.Exists(fun result -> result.IsNotRead)

    /// Whether everything was flushed in it, by a command or because a flush that waited for its time had come due.
    member _.Flushed(pendingAtSeconds: uint32) : Flushed =
        let isFlush (command: ClientCommand) =
            match command with
            | FlushAll _ -> true
            | _ -> false

        if
            (pendingAtSeconds <> 0u && pendingAtSeconds <= nowSeconds)
            || commands |> Array.contains (FlushAll 0)
        then
            Flushed.AtOnce
        elif Array.exists isFlush commands then
            Flushed.Later
        else
            Flushed.Nothing

    /// Whether the group flushed something up to its last command: it is durable then.
    member _.IsInFlush = isInFlush

    /// What the model holds after it, and the first answer that the model would not have given.
    member _.Apply(before: Contents) : struct (Contents * string option) =
        let mutable contents = Contents.flushDue nowSeconds before
        let mutable difference = None

        for index in 0 .. results.Count - 1 do
            match results[index] with
            | Decided(sequence, reply) ->
                let struct (after, expected) =
                    Command.apply commands[index] values[index] uniques[index] nowSeconds sequence contents

                if reply <> expected && difference.IsNone then
                    let item = Contents.find nowSeconds (Command.keyOf commands[index]) contents
                    let held = item |> Option.map Item.show |> Option.defaultValue "nothing"

                    difference <-
                        Some $"command {index + 1} was answered {reply}, the model says {expected}: it holds {held}"

                if sequence <= before.LastSequence && difference.IsNone then
                    difference <- Some $"sequence number {sequence} follows {before.LastSequence}"

                contents <- after
            | NotRead
            | NotAdmitted -> ()

        struct ({ contents with LastSequence = max contents.LastSequence lastSequence }, difference)

    override _.NeedsPuts = number % 2 = 0 && commands |> Array.exists (Command.isRemoval >> not)

    override writes.Execute context =
        executing writes
        results.Clear()
        nowSeconds <- context.NowSeconds

        for index in 0 .. commands.Length - 1 do
            results.Add(execute context index)

        lastSequence <- context.NextSequence - 1UL
        isInFlush <- context.HasFlush

    override writes.Completed outcome = completed writes outcome
