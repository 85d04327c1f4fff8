namespace LsmFs.Engine

// What an `lru_crawler` line asks for. memcached walks its slab classes with a crawler that removes what has expired, and lists keys. Here
// compaction removes, without being asked; so `crawl`, `sleep` and `tocrawl` are understood, judged as there, and nothing comes of them.
// What remains is the lists. All items are of one slab class, number 1, and the other numbers are empty classes.

open System

/// What the host does about an `lru_crawler` line.
type CrawlerAction =
    /// Answers with `CrawlerRequest.Reply`, and that is all.
    | Answer = 0uy
    /// `Start`, every item as `KeyListing.appendMetadump` writes it, then `Reply`.
    | Metadump = 1uy
    /// `Start`, every item as `KeyListing.appendMgdump` writes it, then `Reply`.
    | Mgdump = 2uy
    /// Lets lists be asked for, for everybody; answers with `Reply`.
    | Enable = 3uy
    /// Lets no list be begun any more; answers with `Reply`.
    | Disable = 4uy

/// An `lru_crawler` line, understood.
[<Struct>]
type CrawlerRequest = {
    Action: CrawlerAction
    /// The line before a list that is begun; none where there is no list.
    Start: ReplyCode
    /// The answer, or the line that ends a list.
    Reply: ReplyCode
}

/// Understanding `lru_crawler` lines.
[<RequireQualifiedAccess>]
module CrawlerRequest =

    /// Lists that may be under way at the same time; one more is answered `ReplyCode.CrawlerBusy`. Each holds a snapshot.
    [<Literal>]
    let runningCountMax = 4

    [<Literal>]
    let private sleepMicrosecondsMax = 1000000u

    [<Literal>]
    let private comma = 44uy

    /// Which items an argument names.
    type private Selection =
        | All = 0uy
        | Hash = 1uy
        /// Slab classes with items in them.
        | Classes = 2uy
        /// Slab classes without.
        | EmptyClasses = 3uy
        | Bad = 4uy

    let inline private answer (reply: ReplyCode) : CrawlerRequest = {
        Action = CrawlerAction.Answer
        Start = ReplyCode.None
        Reply = reply
    }

    /// Numbers of slab classes with commas between them; empty ones between commas are skipped, as by `strtok`.
    let private selectClasses (argument: ReadOnlySpan<byte>) : Selection =
        let mutable rest = argument
        let mutable selection = Selection.EmptyClasses

        while not rest.IsEmpty && selection <> Selection.Bad do
            let length =
                match rest.IndexOf comma with
                | -1 -> rest.Length
                | found -> found

            let mutable number = 0u

            if length > 0 then
                if
                    not (Digits.tryUInt32 (rest.Slice(0, length)) &number)
                    || number = 0u
                    || number >= StatsRequest.slabClassCountMax
                then
                    selection <- Selection.Bad
                elif number = StatsRequest.slabClass then
                    selection <- Selection.Classes

            rest <- rest.Slice(min rest.Length (length + 1))

        selection

    let private select (argument: ReadOnlySpan<byte>) : Selection =
        match CommandName.packWhole argument with
        | CommandName.All -> Selection.All
        | CommandName.Hash -> Selection.Hash
        | _ -> selectClasses argument

    let private list (action: CrawlerAction) (finish: ReplyCode) (argument: ReadOnlySpan<byte>) : CrawlerRequest =
        match select argument with
        | Selection.Bad -> answer ReplyCode.BadSlabClass
        | Selection.EmptyClasses -> { answer finish with Start = ReplyCode.Ok }
        | _ -> { answer finish with Action = action; Start = ReplyCode.Ok }

    let private crawl (argument: ReadOnlySpan<byte>) : CrawlerRequest =
        match select argument with
        | Selection.Bad -> answer ReplyCode.BadSlabClass
        // memcached can only list in the order of its hash table.
        | Selection.Hash -> answer ReplyCode.CrawlerFailed
        | _ -> answer ReplyCode.Ok

    let private setting (largest: uint32) (refusal: ReplyCode) (argument: ReadOnlySpan<byte>) : CrawlerRequest =
        let mutable number = 0u

        if not (Digits.tryUInt32 argument &number) then
            answer ReplyCode.BadCommandLineFormat
        elif number > largest then
            answer refusal
        else
            answer ReplyCode.Ok

    /// Understands the arguments of a parsed `lru_crawler` command: the span of `KeyOffset` and `KeysLength`. No allocation.
    let understand (arguments: ReadOnlySpan<byte>) (isEnabled: bool) (restrictions: Restrictions) : CrawlerRequest =
        let mutable position = 0
        let first = Tokens.next arguments &position
        let second = Tokens.next arguments &position
        let third = Tokens.next arguments &position

        match CommandName.packWhole first with
        | CommandName.Enable when second.IsEmpty -> {
            answer (
                if isEnabled then
                    ReplyCode.CrawlerNotStarted
                else
                    ReplyCode.Ok
            ) with
                Action = CrawlerAction.Enable
          }
        | CommandName.Disable when second.IsEmpty -> { answer ReplyCode.Ok with Action = CrawlerAction.Disable }
        | _ when second.IsEmpty || not third.IsEmpty -> answer ReplyCode.Error
        | CommandName.Crawl
        | CommandName.Metadump
        | CommandName.Mgdump when not isEnabled -> answer ReplyCode.CrawlerDisabled
        | CommandName.Crawl -> crawl second
        | CommandName.Metadump when restrictions.NoDump -> answer ReplyCode.MetadumpNotAllowed
        | CommandName.Mgdump when restrictions.NoDump -> answer ReplyCode.MgdumpNotAllowed
        | CommandName.Metadump -> list CrawlerAction.Metadump ReplyCode.End second
        | CommandName.Mgdump -> list CrawlerAction.Mgdump ReplyCode.MetaEnd second
        | CommandName.Sleep -> setting sleepMicrosecondsMax ReplyCode.SleepTooLong second
        | CommandName.Tocrawl -> setting UInt32.MaxValue ReplyCode.BadCommandLineFormat second
        | _ -> answer ReplyCode.Error
