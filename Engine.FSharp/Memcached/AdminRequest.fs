namespace LsmFs.Engine

// Commands of memcached's operators that have little or nothing to change here, and what they are answered: each is judged as there, so that a script
// or a tool goes on. There are no slab pages to move and no LRU to tune, so what is well formed is accepted and nothing comes of it; what would have a
// visible effect there, and cannot have it here, is refused in the words with which memcached refuses it.

open System
open System.Globalization

/// Understanding the commands of operators.
[<RequireQualifiedAccess>]
module AdminRequest =

    // A byte string literal is a new array each time it is evaluated.
    let private segmented = "segmented"B
    let private freeRatio = "freeratio"B
    let private graceful = "graceful"B

    /// The largest slab class that memcached has unless it is told other sizes.
    [<Literal>]
    let private slabClassMax = 39

    [<Literal>]
    let private hotAndWarmPercentMax = 80UL

    [<Literal>]
    let private windowMin = 3u

    [<Literal>]
    let private windowMax = 1800u

    [<Literal>]
    let private automoveLevelMax = 2u

    /// The smallest memory limit, in MiB, here as there.
    [<Literal>]
    let private memoryLimitMin = 8u

    [<Literal>]
    let private mebibyteShift = 20

    [<Literal>]
    let private verbosityMax = 2u

    let inline private isWord (token: ReadOnlySpan<byte>) (word: byte[]) = token.SequenceEqual(ReadOnlySpan<byte> word)

    let private tryFraction (token: ReadOnlySpan<byte>) (number: byref<float>) : bool =
        let styles =
            NumberStyles.AllowLeadingSign ||| NumberStyles.AllowDecimalPoint ||| NumberStyles.AllowExponent

        Double.TryParse(token, styles, CultureInfo.InvariantCulture, &number)

    /// `tune <hot percent> <warm percent> <hot factor> <warm factor>`
    let private tune (line: ReadOnlySpan<byte>) (tokens: Span<int>) (count: int) : ReplyCode =
        let mutable hot = 0u
        let mutable warm = 0u
        let mutable hotFactor = 0.0
        let mutable warmFactor = 0.0

        if
            count < 6
            || not (Digits.tryUInt32 (Tokens.item line tokens 2) &hot)
            || not (Digits.tryUInt32 (Tokens.item line tokens 3) &warm)
            || not (tryFraction (Tokens.item line tokens 4) &hotFactor)
            || not (tryFraction (Tokens.item line tokens 5) &warmFactor)
        then
            ReplyCode.Error
        elif uint64 hot + uint64 warm > hotAndWarmPercentMax then
            ReplyCode.LruPercentTooLarge
        elif hotFactor <= 0.0 || warmFactor <= 0.0 then
            ReplyCode.LruFactorTooSmall
        else
            ReplyCode.Ok

    /// What the line of an `lru` command is answered. Tokens as `Tokens.split` makes them, the name first.
    let lru (line: ReadOnlySpan<byte>) (tokens: Span<int>) (count: int) : ReplyCode =
        let mutable seconds = 0

        if count < 3 then
            ReplyCode.Error
        else
            let argument = Tokens.item line tokens 2

            match CommandName.packWhole (Tokens.item line tokens 1) with
            | CommandName.Tune -> tune line tokens count
            | CommandName.Mode when CommandName.packWhole argument = CommandName.Flat || isWord argument segmented ->
                ReplyCode.Ok
            | CommandName.TempTtl when Digits.tryInt32 argument &seconds -> ReplyCode.Ok
            | _ -> ReplyCode.Error

    /// `reassign <from class> <to class>`: there is no page that a class could give.
    let private reassign (line: ReadOnlySpan<byte>) (tokens: Span<int>) (count: int) : ReplyCode =
        let mutable source = 0
        let mutable target = 0
        let isClass (number: int) = number >= 0 && number <= slabClassMax

        if count <> 4 then
            ReplyCode.Error
        elif
            not (Digits.tryInt32 (Tokens.item line tokens 2) &source)
            || not (Digits.tryInt32 (Tokens.item line tokens 3) &target)
        then
            ReplyCode.BadCommandLineFormat
        elif not (isClass source && isClass target) then
            ReplyCode.BadReassignClass
        elif source = target then
            ReplyCode.SameSlabClass
        else
            ReplyCode.NoSparePage

    /// `automove <level>`, `automove ratio|freeratio <fraction>` and `automove window <seconds>`.
    let private automove (line: ReadOnlySpan<byte>) (tokens: Span<int>) (count: int) : ReplyCode =
        let mutable number = 0u
        let mutable fraction = 0.0
        let first = Tokens.item line tokens 2
        let packed = CommandName.packWhole first

        if packed = CommandName.Ratio || isWord first freeRatio then
            if count > 3 && tryFraction (Tokens.item line tokens 3) &fraction then
                ReplyCode.Ok
            else
                ReplyCode.Error
        elif packed = CommandName.Window then
            if count < 4 || not (Digits.tryUInt32 (Tokens.item line tokens 3) &number) then
                ReplyCode.BadCommandLineFormat
            elif number < windowMin || number > windowMax then
                ReplyCode.BadAutomoveWindow
            else
                ReplyCode.Ok
        elif not (Digits.tryUInt32 first &number) then
            ReplyCode.BadCommandLineFormat
        elif number > automoveLevelMax then
            ReplyCode.Error
        else
            ReplyCode.Ok

    /// What the line of a `slabs` command is answered. Tokens as `Tokens.split` makes them, the name first.
    let slabs (line: ReadOnlySpan<byte>) (tokens: Span<int>) (count: int) : ReplyCode =
        if count < 3 then
            ReplyCode.Error
        else
            match CommandName.packWhole (Tokens.item line tokens 1) with
            | CommandName.Reassign -> reassign line tokens count
            | CommandName.Automove -> automove line tokens count
            | _ -> ReplyCode.Error

    /// What `cache_memlimit` with this many MiB is answered by a server that was started with this budget. Memtables, cache, filters and levels are laid
    /// out for it, so it stays: asking for what it is succeeds, everything else is what memcached says when it cannot.
    let memoryLimit (mebibytes: uint32) (budgetBytes: int64) : ReplyCode =
        if mebibytes < memoryLimitMin then
            ReplyCode.MemoryLimitTooSmall
        elif int64 mebibytes <<< mebibyteShift = budgetBytes then
            ReplyCode.Ok
        else
            ReplyCode.MemoryLimitNotAdjusted

    /// Whether the line of a `shutdown` asks for a mode that there is: none, or `graceful`. Tokens as `Tokens.split` makes them, the name first.
    let isShutdownMode (line: ReadOnlySpan<byte>) (tokens: Span<int>) (count: int) : bool =
        count = 1 || (count = 2 && isWord (Tokens.item line tokens 1) graceful)

    /// What a `shutdown` is answered; `None` when the server is to stop, which is every answer there is then.
    let shutdown (command: inref<Command>) (isEnabled: bool) : ReplyCode =
        if not isEnabled then ReplyCode.ShutdownNotEnabled
        elif command.Number = 0UL then ReplyCode.InvalidShutdownMode
        else ReplyCode.None

    /// The verbosity that `verbosity` with this level sets: more than the largest is the largest.
    let verbosity (level: uint32) : int = int (min level verbosityMax)

    /// Turns what the parser made of a line into what a server with these restrictions makes of it: a `flush_all`, good or bad, is refused.
    let restrict (restrictions: Restrictions) (step: byref<ParseStep>) (command: byref<Command>) : unit =
        if restrictions.NoFlush then
            if step.Kind = ParseStepKind.Parsed && command.Verb = Verb.FlushAll then
                command <- { command with Verb = Verb.FlushRefused }
            elif
                step.Kind = ParseStepKind.Rejected
                && step.Reply = ReplyCode.InvalidExptime
                && step.Counters = Counters.CmdFlush
            then
                step <- { step with Reply = ReplyCode.FlushAllNotAllowed }
