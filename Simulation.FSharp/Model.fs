namespace LsmFs.Simulation

// Invariants
// 1. `Current` is what the acknowledged writes add up to, in the order of their commits: what every read shows.
// 2. After a crash the store is in one of the states that `Recoverable` gives, which follow from what its durability promises.

open System
open System.Text
open LsmFs.Engine

/// An item, as a client would see it.
type Item = { Value: byte[]; Flags: uint32; ExpirySeconds: uint32; Cas: uint64 }

/// What a store holds.
type Contents = {
    Items: Map<int, Item>
    /// From this time on everything in here is flushed; 0 never.
    FlushAtSeconds: uint32
    /// The sequence number of the last write.
    LastSequence: uint64
}

/// Keys and values.
[<RequireQualifiedAccess>]
module Item =
    let key (number: int) : byte[] = Encoding.ASCII.GetBytes $"key-{number:D3}"

    /// A value that no other command writes: it begins with the number of the write and of the command in it.
    let value (write: int) (index: int) (lengthBytes: int) : byte[] =
        let head = $"<{write}.{index}>"
        let bytes = Array.zeroCreate<byte>(max head.Length lengthBytes)
        Encoding.ASCII.GetBytes(head, 0, head.Length, bytes, 0) |> ignore
        let mutable state = uint32 (write * 31 + index)

        for position in head.Length .. bytes.Length - 1 do
            // Half of it compresses.
            state <- state * 1664525u + 1013904223u
            bytes[position] <- if position % 2 = 0 then byte (state >>> 24) else 0x2Euy

        bytes

    let show (item: Item) : string =
        let length = min 12 item.Value.Length
        let text = Encoding.Latin1.GetString(item.Value, 0, length)

        let head =
            match text.IndexOf '>' with
            | -1 -> text
            | last -> text.Substring(0, last + 1)

        let expiry =
            if item.ExpirySeconds = 0u then
                ""
            else
                $", until {item.ExpirySeconds}"

        $"{head} {item.Value.Length} bytes, cas {item.Cas}{expiry}"

    let describe (item: Item option) : string = item |> Option.map show |> Option.defaultValue "nothing"

[<RequireQualifiedAccess>]
module Contents =
    let empty: Contents = { Items = Map.empty; FlushAtSeconds = 0u; LastSequence = 0UL }

    let private isFlushDue (nowSeconds: uint32) (contents: Contents) : bool =
        contents.FlushAtSeconds <> 0u && contents.FlushAtSeconds <= nowSeconds

    let private isLive (nowSeconds: uint32) (item: Item) : bool =
        item.ExpirySeconds = 0u || nowSeconds < item.ExpirySeconds

    /// What a read at a time shows.
    let live (nowSeconds: uint32) (contents: Contents) : Map<int, Item> =
        if isFlushDue nowSeconds contents then
            Map.empty
        else
            contents.Items |> Map.filter (fun _ item -> isLive nowSeconds item)

    let find (nowSeconds: uint32) (key: int) (contents: Contents) : Item option =
        if isFlushDue nowSeconds contents then
            None
        else
            Map.tryFind key contents.Items |> Option.filter (isLive nowSeconds)

    /// A flush that has come due takes place before the next write.
    let flushDue (nowSeconds: uint32) (contents: Contents) : Contents =
        if isFlushDue nowSeconds contents then
            { contents with Items = Map.empty; FlushAtSeconds = 0u }
        else
            contents

    let show (items: Map<int, Item>) : string =
        if items.IsEmpty then
            "nothing"
        else
            items |> Map.toSeq |> Seq.map (fun (key, item) -> $"{key}: {Item.show item}") |> String.concat "; "

/// What a command does, by the protocol.
[<RequireQualifiedAccess>]
module Command =
    let private relative (nowSeconds: uint32) (ttlSeconds: int) : uint32 =
        if ttlSeconds = 0 then
            0u
        else
            nowSeconds + uint32 ttlSeconds

    let keyOf (command: ClientCommand) : int =
        match command with
        | Set(key, _, _)
        | SetNumber(key, _)
        | Add(key, _)
        | Replace(key, _)
        | Append(key, _)
        | CompareAndSet(key, _, _)
        | Increment(key, _)
        | Touch(key, _)
        | Delete key -> key
        | FlushAll _ -> 0

    let isRemoval (command: ClientCommand) : bool =
        match command with
        | Delete _
        | FlushAll _ -> true
        | _ -> false

    /// The item that a command writes and its answer. `value` is what it brings, `sequence` the number of its write.
    let apply
        (command: ClientCommand)
        (value: byte[])
        (unique: uint64)
        (nowSeconds: uint32)
        (sequence: uint64)
        (contents: Contents)
        : struct (Contents * ReplyCode) =
        let key = keyOf command
        let current = Contents.find nowSeconds key contents

        let put (item: Item) (reply: ReplyCode) =
            struct ({ contents with Items = contents.Items.Add(key, item); LastSequence = sequence }, reply)

        let store (ttl: int) =
            put
                {
                    Value = value
                    Flags = uint32 key
                    ExpirySeconds = relative nowSeconds ttl
                    Cas = sequence
                }
                ReplyCode.Stored

        let keep (reply: ReplyCode) = struct (contents, reply)

        match command, current with
        | Set(_, _, ttl), _ -> store ttl
        | SetNumber _, _ -> store 0
        | Add _, None -> store 0
        | Add _, Some _ -> keep ReplyCode.NotStored
        | Replace _, Some _ -> store 0
        | Replace _, None -> keep ReplyCode.NotStored
        | Append _, None -> keep ReplyCode.NotStored
        | Append _, Some item ->
            put { item with Value = Array.append item.Value value; Cas = sequence } ReplyCode.Stored
        | CompareAndSet _, None -> keep ReplyCode.NotFound
        | CompareAndSet _, Some item -> if item.Cas = unique then store 0 else keep ReplyCode.Exists
        | Increment _, None -> keep ReplyCode.NotFound
        | Increment(_, delta), Some item ->
            match UInt64.TryParse(Encoding.Latin1.GetString item.Value) with
            | false, _ -> keep ReplyCode.NonNumericValue
            | true, number ->
                let digits = Encoding.ASCII.GetBytes(string (number + uint64 delta))
                put { item with Value = digits; Cas = sequence } ReplyCode.Number
        | Touch _, None -> keep ReplyCode.NotFound
        | Touch(_, ttl), Some item -> put { item with ExpirySeconds = relative nowSeconds ttl } ReplyCode.Touched
        | Delete _, None -> keep ReplyCode.NotFound
        | Delete _, Some _ ->
            struct ({ contents with Items = contents.Items.Remove key; LastSequence = sequence }, ReplyCode.Deleted)
        | FlushAll 0, _ -> struct ({ Items = Map.empty; FlushAtSeconds = 0u; LastSequence = sequence }, ReplyCode.Ok)
        | FlushAll delay, _ ->
            struct ({
                        contents with
                            FlushAtSeconds = nowSeconds + uint32 delay
                            LastSequence = sequence
                    },
                    ReplyCode.Ok)

/// Whether a write has flushed everything.
[<RequireQualifiedAccess>]
type internal Flushed =
    | Nothing
    | AtOnce
    /// Everything is to be flushed when a time comes.
    | Later

/// What is known of a store from what it has answered. Mutable; one owner.
[<Sealed>]
type internal Model(durability: Durability) =
    let mutable current = Contents.empty
    // States since the last one that is known to be durable, newest first.
    let mutable history: Contents list = [ Contents.empty ]
    // Under `memory`, the flushes that were to come later, and the sequence numbers of their writes.
    let mutable delayed: struct (uint64 * uint32) list = []
    // Whether something was flushed in the group that is being acknowledged.
    let mutable hasFlush = false
    // States with a refused write in them, which its log may hold all the same.
    let mutable refused: Contents list = []

    member _.Current = current

    /// A write was acknowledged; with the last one of a group, the whole group is in the log. `isInFlush` is whether the group had flushed something by then,
    /// and `flushed` whether the write has, as far as it knows.
    member _.Committed(after: Contents, isGroupComplete: bool, isInFlush: bool, flushed: Flushed) =
        // Only a write behind it ends what is left in the log of one that was refused.
        if after.LastSequence > current.LastSequence then
            // Unless that is lost with the power.
            if durability = Durability.Os then
                history <- refused @ history

            refused <- []

        current <- after
        hasFlush <- hasFlush || isInFlush

        match durability with
        | Durability.Sync -> ()
        | Durability.Os ->
            // A group with a flush is synced, and what was written before it too.
            if isGroupComplete then
                history <- (if hasFlush then [ after ] else after :: history)
        | _ ->
            // The manifest, which is durable, may know of a flush whose group is in no table.
            match flushed with
            | Flushed.Nothing -> ()
            | Flushed.AtOnce -> history <- { after with Items = Map.empty } :: history
            | Flushed.Later -> delayed <- struct (after.LastSequence, after.FlushAtSeconds) :: delayed

            if isGroupComplete then
                history <- after :: history

        if isGroupComplete then
            hasFlush <- false

    /// A write was refused after it may have reached the log.
    member _.Refused(after: Contents) = refused <- after :: refused

    /// Everything up to a sequence number is in tables.
    member _.Flushed(throughSequence: uint64) =
        if history.Length > 50 then
            match history |> List.tryFindIndex (fun contents -> contents.LastSequence <= throughSequence) with
            | Some index -> history <- List.truncate (index + 1) history
            | None -> ()

    /// The states in which the store may be found after its process has ended. `executing` is the state with the group in it that was under way.
    member _.Recoverable(loss: PowerLoss, throughSequence: uint64, executing: Contents option) : Contents list =
        let uncertain = Option.toList executing @ refused

        match durability, loss with
        | Durability.Sync, _
        | Durability.Os, Everything -> current :: uncertain
        | _ ->
            let older =
                match history |> List.tryFindIndex (fun contents -> contents.LastSequence <= throughSequence) with
                | Some index -> List.truncate (index + 1) history
                | None -> history

            let withDelayed (contents: Contents) =
                delayed
                |> List.filter (fun struct (sequence, _) -> sequence > contents.LastSequence)
                |> List.map (fun struct (_, atSeconds) -> { contents with FlushAtSeconds = atSeconds })

            current :: older @ List.collect withDelayed older @ uncertain

    /// The store was opened, and this is what it holds, durably.
    member _.Recovered(found: Contents) =
        current <- found
        history <- [ found ]
        refused <- []
        delayed <- []
        hasFlush <- false
