namespace LsmFs.Engine

// What a `stats` line asks for. The host supplies the names and numbers of a topic; which lines are topics, and what the others are
// answered, is decided here.

open System

/// What the host answers a `stats` line with.
type StatsTopic =
    /// `StatsRequest.Reply` alone.
    | None = 0uy
    /// The counters of the server.
    | General = 1uy
    | Settings = 2uy
    | Items = 3uy
    | Slabs = 4uy
    | Sizes = 5uy
    | Conns = 6uy
    /// No STAT lines either, but every counter starts again at 0.
    | Reset = 7uy
    /// The engine's own figures; memcached has no such topic.
    | Lsm = 8uy

/// A `stats` line, understood.
[<Struct>]
type StatsRequest = {
    Topic: StatsTopic
    /// The line that ends the answer, behind the STAT lines of the topic.
    Reply: ReplyCode
}

/// Understanding `stats` lines.
[<RequireQualifiedAccess>]
module StatsRequest =

    /// Slab classes that memcached can have: there is none here, but their numbers are checked as there.
    [<Literal>]
    let internal slabClassCountMax = 64u

    let inline private answer (reply: ReplyCode) : StatsRequest = { Topic = StatsTopic.None; Reply = reply }

    let inline private about (topic: StatsTopic) : StatsRequest = { Topic = topic; Reply = ReplyCode.End }

    /// `stats detail on|off|dump`: prefixes of keys are not counted, so there is nothing to switch and nothing to dump.
    let private detail (argument: ReadOnlySpan<byte>) : StatsRequest =
        match CommandName.packWhole argument with
        | CommandName.On
        | CommandName.Off -> answer ReplyCode.Ok
        | CommandName.Dump -> answer ReplyCode.End
        | _ -> answer ReplyCode.BadDetailFormat

    /// `stats cachedump <slab class> <limit>`: without slab classes there are no items in them.
    let private cachedump (slabClass: ReadOnlySpan<byte>) (limit: ReadOnlySpan<byte>) : StatsRequest =
        let mutable number = 0u
        let mutable ignored = 0u

        if limit.IsEmpty then
            answer ReplyCode.BadCommandLine
        elif not (Digits.tryUInt32 slabClass &number && Digits.tryUInt32 limit &ignored) then
            answer ReplyCode.BadCommandLineFormat
        elif number >= slabClassCountMax then
            answer ReplyCode.IllegalSlabClass
        else
            answer ReplyCode.End

    /// Understands the arguments of a parsed `stats` command: the span of `KeyOffset` and `KeysLength`. No allocation.
    let understand (arguments: ReadOnlySpan<byte>) : StatsRequest =
        let mutable position = 0
        let first = Tokens.next arguments &position
        let second = Tokens.next arguments &position
        let third = Tokens.next arguments &position

        if first.IsEmpty then
            about StatsTopic.General
        else
            match CommandName.packWhole first with
            | CommandName.Settings -> about StatsTopic.Settings
            | CommandName.Items -> about StatsTopic.Items
            | CommandName.Slabs -> about StatsTopic.Slabs
            | CommandName.Sizes -> about StatsTopic.Sizes
            | CommandName.Conns -> about StatsTopic.Conns
            | CommandName.Lsm -> about StatsTopic.Lsm
            | CommandName.Detail -> detail second
            | CommandName.Reset -> { Topic = StatsTopic.Reset; Reply = ReplyCode.Reset }
            | _ when CommandName.isCachedump first -> cachedump second third
            | _ -> answer ReplyCode.Error
