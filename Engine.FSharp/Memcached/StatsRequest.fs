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
    /// A list of items as `KeyListing.appendCachedump` writes it, `StatsRequest.ItemCountMax` at most.
    | Cachedump = 9uy

/// A `stats` line, understood.
[<Struct>]
type StatsRequest = {
    Topic: StatsTopic
    /// The line that ends the answer, behind the STAT lines of the topic.
    Reply: ReplyCode
    /// How many items a `cachedump` lists.
    ItemCountMax: uint32
}

/// Understanding `stats` lines.
[<RequireQualifiedAccess>]
module StatsRequest =

    /// Slab classes that memcached can have: there is none here, but their numbers are checked as there.
    [<Literal>]
    let internal slabClassCountMax = 64u

    /// The slab class of every item.
    [<Literal>]
    let slabClass = 1u

    let inline private topic (topic: StatsTopic) (reply: ReplyCode) : StatsRequest = {
        Topic = topic
        Reply = reply
        ItemCountMax = 0u
    }

    let inline private answer (reply: ReplyCode) : StatsRequest = topic StatsTopic.None reply

    let inline private about (subject: StatsTopic) : StatsRequest = topic subject ReplyCode.End

    /// `stats detail on|off|dump`: prefixes of keys are not counted, so it is off, there is nothing to dump, and it cannot be switched on.
    let private detail (argument: ReadOnlySpan<byte>) : StatsRequest =
        match CommandName.packWhole argument with
        | CommandName.On -> answer ReplyCode.DetailNotAllowed
        | CommandName.Off -> answer ReplyCode.Ok
        | CommandName.Dump -> answer ReplyCode.End
        | _ -> answer ReplyCode.BadDetailFormat

    /// `stats cachedump <slab class> <limit>`: all items are of one class. A limit of 0 is none.
    let private cachedump (className: ReadOnlySpan<byte>) (limit: ReadOnlySpan<byte>) : StatsRequest =
        let mutable number = 0u
        let mutable count = 0u

        if limit.IsEmpty then
            answer ReplyCode.BadCommandLine
        elif not (Digits.tryUInt32 className &number && Digits.tryUInt32 limit &count) then
            answer ReplyCode.BadCommandLineFormat
        elif number >= slabClassCountMax then
            answer ReplyCode.IllegalSlabClass
        elif number <> slabClass then
            answer ReplyCode.End
        else
            {
                about StatsTopic.Cachedump with
                    ItemCountMax = (if count = 0u then UInt32.MaxValue else count)
            }

    /// Understands the arguments of a parsed `stats` command: the span of `KeyOffset` and `KeysLength`. No allocation.
    let understand (arguments: ReadOnlySpan<byte>) (restrictions: Restrictions) : StatsRequest =
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
            // Neither is there; memcached says the same of what it was not started with.
            | CommandName.Extstore
            | CommandName.Proxy -> answer ReplyCode.End
            | CommandName.Detail when restrictions.NoDump -> answer ReplyCode.DetailNotAllowed
            | CommandName.Detail -> detail second
            | CommandName.Reset -> topic StatsTopic.Reset ReplyCode.Reset
            | _ when CommandName.isCachedump first && restrictions.NoDump -> answer ReplyCode.CachedumpNotAllowed
            | _ when CommandName.isCachedump first -> cachedump second third
            | _ -> answer ReplyCode.Error
