using LsmFs.Engine;
using Microsoft.FSharp.Core;
using Decision = LsmFs.Engine.Execute;

namespace LsmFs.Host;

// Serving commands: the parser's steps, retrievals that may stop at any key, writes that are collected.
internal sealed partial class Connection
{
    private Retrieval _retrieval;

    /// <summary>A retrieval that has begun. The line stays in the input until its last key is answered.</summary>
    private struct Retrieval
    {
        public Verb Verb;
        public int Exptime;
        public int KeysOffset;
        public int KeysLength;
        public int Position;
        public int FetchedPosition;
        public int ConsumedBytes;
    }

    /// <summary>What a client is told about a value that the disk does not give back.</summary>
    public const string Unreadable = "the stored value cannot be read, see the server's log";

    /// <summary>Serves commands until the input, the output or the turn's share of work ends; returns the bytes that are done with.</summary>
    private int Execute(ReadOnlySpan<byte> input)
    {
        int consumed = 0;
        int fetched = loop.IsWorthFetching ? 0 : int.MaxValue;

        if (_passwords is not null && !TryAuthenticate(_passwords, input, ref consumed))
        {
            return consumed;
        }

        while (_output is null && _awaited is null && _dump is null && !_isRefreshing && !_isWaiting && !_isClosing && !_isClosed)
        {
            if (_workLeft <= 0)
            {
                if (!_isDue)
                {
                    loop.Counters.Yields++;
                    MakeDue();
                }

                break;
            }

            if (_retrieval.Verb != Verb.None)
            {
                // One that stopped has changed what the loop's conditions look at.
                if (ContinueRetrieval(input[consumed..]))
                {
                    consumed += _retrieval.ConsumedBytes;
                    _retrieval = default;
                    ReleaseBlocks();
                }
            }
            else
            {
                if (consumed >= fetched)
                {
                    fetched = FetchComing(input, consumed);
                }

                if (consumed == input.Length || !TryStep(input[consumed..], ref consumed))
                {
                    break;
                }
            }
        }

        return consumed;
    }

    /// <summary>The key of what was received, when it is one get and no more.</summary>
    public bool TryFindComing(ReadOnlySpan<byte> arrived, out ComingKey key)
    {
        key = default;
        int position = 0;
        return FindComing(arrived, ref position, new Span<ComingKey>(ref key)) == 1 && position == arrived.Length;
    }

    /// <summary>Fetches the keys of the gets that follow each other from <paramref name="position"/> on; returns where they end.</summary>
    private int FetchComing(ReadOnlySpan<byte> input, int position)
    {
        Fetch(input, FindComing(input, ref position, loop.ComingKeys));
        return position;
    }

    private int FindComing(ReadOnlySpan<byte> input, ref int position, Span<ComingKey> keys) =>
        _isBinary ? BinaryParser.comingKeys(input, ref position, keys) : Parser.comingGets(input, ref position, keys);

    /// <summary>One alone is looked for at once and not fetched before.</summary>
    private void Fetch(ReadOnlySpan<byte> text, int count)
    {
        if (count > 1)
        {
            loop.EnterSnapshot().Fetch(text, loop.ComingKeys.AsSpan(0, count));
        }
    }

    /// <summary>One step of the parser; false when nothing came of it, and the same bytes are to be parsed again later.</summary>
    private bool TryStep(ReadOnlySpan<byte> input, ref int consumed)
    {
        // Whoever does not carry out a step must parse it again, from the state before it.
        ParserState before = _parser;
        Command command = default;
        ParseStep step = _isBinary
            ? BinaryParser.parse(loop.Server.Options.ValueLengthMax, ref _parser, input, ref command)
            : Parser.parse(loop.Server.Options.ValueLengthMax, ref _parser, input, ref command);

        if (loop.Server.Options.Restrictions.NoFlush)
        {
            AdminRequest.restrict(loop.Server.Options.Restrictions, ref step, ref command);
        }

        _workLeft--;

        switch (step.Kind)
        {
            case ParseStepKind.NeedMore:
                _wantedLength = step.WantedBytes;
                return false;

            case ParseStepKind.Close:
                _isClosing = true;
                return false;

            case ParseStepKind.Rejected when step.Reply == ReplyCode.None || TryAnswer(step.Reply, input):
                loop.Counters.Count(step.Counters);
                consumed += step.ConsumedBytes;
                return true;

            case ParseStepKind.RejectedForGood when TryAnswer(step.Reply, input):
                loop.Counters.Count(step.Counters);
                _isClosing = true;
                return false;

            case ParseStepKind.Parsed when TryCarryOut(in command, input, step.ConsumedBytes, ref consumed):
                return true;

            default:
                _parser = before;
                return false;
        }
    }

    private bool TryCarryOut(in Command command, ReadOnlySpan<byte> received, int length, ref int consumed)
    {
        ReadOnlySpan<byte> input = received[..length];

        switch (command.Verb)
        {
            // The retrieval itself consumes the line, at its end.
            case Verb.Get or Verb.Gets when command.Dialect == Dialect.Text && !MustWaitForCommit():
            case Verb.Gat or Verb.Gats when command.Dialect == Dialect.Text:
                _retrieval.Verb = command.Verb;
                _retrieval.Exptime = command.Exptime;
                _retrieval.KeysOffset = command.KeyOffset;
                _retrieval.KeysLength = command.KeysLength;
                _retrieval.Position = 0;
                _retrieval.FetchedPosition = command.KeyLength == command.KeysLength || !loop.IsWorthFetching ? command.KeysLength : 0;
                _retrieval.ConsumedBytes = input.Length;
                return true;

            case Verb.Version or Verb.Verbosity or Verb.CacheMemlimit or Verb.Quit or Verb.Shutdown or Verb.Noop when TryAnswer(in command, input):
                break;

            case Verb.Stats when _isBinary ? TryAnswerBinaryStatistics(in command, input) : TryAnswerStatistics(in command, input):
                break;

            case Verb.RefreshCerts when TryRefresh(in command):
                break;

            case Verb.LruCrawler when TryCrawl(in command, input):
                break;

            case var verb when Decision.isFetch(in command) ? TryFetch(in command, input, Following(in command, received, length))
                : Decision.isWrite(verb) && TryCollect(in command, input, Following(in command, received, length)):
                break;

            default:
                return false;
        }

        consumed += input.Length;
        return true;
    }

    /// <summary>Where keys that may be looked for ahead are: in the packets behind this one, or the lines behind a meta command.</summary>
    private static ReadOnlySpan<byte> Following(in Command command, ReadOnlySpan<byte> received, int length) =>
        command.Dialect == Dialect.Text ? default : received[length..];

    /// <summary>Collects a write; false when it must be tried again.</summary>
    private bool TryCollect(in Command command, ReadOnlySpan<byte> input, ReadOnlySpan<byte> following)
    {
        if (!CanCollectWrite()
            || (Decision.needsCurrent(command.Verb) && !IsAtHand(Answer.key(in command, input, loop.KeyScratch), following, 0)))
        {
            return false;
        }

        Charge(loop.Writes.Add(this, in command, input));
        ReleaseBlocks();
        return true;
    }

    /// <summary>Looks one key up and answers, or collects the write that the command turns out to be; false when it must be tried again.</summary>
    private bool TryFetch(in Command command, ReadOnlySpan<byte> input, ReadOnlySpan<byte> following)
    {
        if (MustWaitForCommit() || !HasRoom(Answer.headLengthMax))
        {
            return false;
        }

        ReadOnlySpan<byte> key = Answer.key(in command, input, loop.KeyScratch);
        LookupOutcome outcome;
        Entry entry;
        int position = 0;

        while ((outcome = loop.EnterSnapshot().FindNow(key, loop.NowSeconds, _wanted, out entry)) == LookupOutcome.ReadBlock)
        {
            if (TryAwaitBlock(following, 0))
            {
                return false;
            }
        }

        bool isFound = outcome == LookupOutcome.Found;

        if (outcome == LookupOutcome.Unreadable)
        {
            Refuse(in command, input, Unreadable);
        }
        else if (Decision.changes(in command, input, isFound ? FSharpValueOption<Entry>.Some(entry) : default, loop.NowSeconds))
        {
            return TryCollect(in command, input, following);
        }
        else if (!isFound)
        {
            _sendLength += Answer.writeMiss(loop.SendBuffer.AsSpan(_sendLength), in command, input, key);
            loop.Counters.Count(Decision.retrievalCounters(command.Verb, false));
            loop.Counters.CountMiss(outcome);
        }
        else if (TryWriteHit(in command, input, in entry))
        {
            loop.Counters.Count(Decision.retrievalCounters(command.Verb, true));
        }
        else
        {
            return false;
        }

        // Blocks that were asked for ahead stay for the keys that follow.
        if (_wanted is { Count: > 0 } && !NextKey(following, ref position).IsEmpty)
        {
            _wanted.ReleaseUsed();
        }
        else
        {
            ReleaseBlocks();
        }

        return true;
    }

    /// <summary>Whether what is answered at once must wait, since writes before it are not committed yet (invariant 1).</summary>
    private bool MustWaitForCommit()
    {
        _isWaiting = _pendingCount > 0;
        return _isWaiting;
    }

    private bool CanCollectWrite()
    {
        if (_pendingBytes >= PendingBytesMax)
        {
            _isWaiting = true;
        }
        else if (!loop.HasRoomForWrites)
        {
            _isWaiting = true;

            if (_pendingCount == 0)
            {
                // No commit of its own will wake the connection.
                loop.Starve(this);
            }
        }

        return !_isWaiting;
    }

    private void Charge(int bytes)
    {
        _pendingCount++;
        _pendingBytes += bytes;
        loop.ChargeWrite(bytes);
    }

    private bool TryAnswer(ReplyCode reply)
    {
        if (MustWaitForCommit() || !HasRoom(Reply.lineLengthMax))
        {
            return false;
        }

        Put(Reply.line(reply));
        return true;
    }

    /// <summary>Answers what the parser rejected.</summary>
    private bool TryAnswer(ReplyCode reply, ReadOnlySpan<byte> input)
    {
        if (MustWaitForCommit() || !HasRoom(Answer.codeLengthMax))
        {
            return false;
        }

        PutCode(reply, _isBinary ? Dialect.Binary : Dialect.Text, input);
        return true;
    }

    private void PutCode(ReplyCode reply, Dialect dialect, ReadOnlySpan<byte> input) =>
        _sendLength += Answer.writeCode(loop.SendBuffer.AsSpan(_sendLength), dialect, input, reply);

    private bool TryAnswer(in Command command, ReadOnlySpan<byte> input)
    {
        if (MustWaitForCommit() || !HasRoom(Answer.codeLengthMax))
        {
            return false;
        }

        switch (command.Verb)
        {
            case Verb.Version:
                _sendLength += Answer.writeVersion(
                    loop.SendBuffer.AsSpan(_sendLength), in command, input, loop.Server.Options.Version);
                break;

            case Verb.Verbosity:
                loop.Server.Options.Verbosity.Level = AdminRequest.verbosity((uint)command.Number);
                Put(Reply.line(command.NoReply ? ReplyCode.None : ReplyCode.Ok));
                break;

            case Verb.CacheMemlimit when !command.NoReply:
                Put(Reply.line(AdminRequest.memoryLimit((uint)command.Number, loop.Server.Store.Options.MemoryBudgetBytes)));
                break;

            case Verb.Shutdown:
                Action? shutdown = loop.Server.Options.ShutdownRequested;
                ReplyCode refusal = AdminRequest.shutdown(in command, shutdown is not null);

                if (refusal == ReplyCode.None)
                {
                    shutdown!();
                    _isClosing = true;
                }
                else if (!command.NoReply)
                {
                    Put(Reply.line(refusal));
                }

                break;

            case Verb.Noop:
                PutCode(ReplyCode.Ok, command.Dialect, input);
                break;

            case Verb.Quit when command.Dialect == Dialect.Binary:
                PutCode(ReplyCode.Ok, command.Dialect, input);
                _isClosing = true;
                break;

            case Verb.Quit:
                _isClosing = true;
                break;
        }

        return true;
    }

    /// <summary>Goes on with the retrieval at the start of the input; false when it stopped before its end.</summary>
    private bool ContinueRetrieval(ReadOnlySpan<byte> input)
    {
        ReadOnlySpan<byte> keys = input.Slice(_retrieval.KeysOffset, _retrieval.KeysLength);
        bool isWrite = _retrieval.Verb is Verb.Gat or Verb.Gats;

        while (_workLeft > 0)
        {
            int position = _retrieval.Position;
            ReadOnlySpan<byte> key = Parser.nextKey(keys, ref position);
            _workLeft--;

            if (isWrite)
            {
                if (!CanCollectWrite())
                {
                    return false;
                }

                if (key.IsEmpty)
                {
                    Charge(loop.Writes.AddEnd(this));
                    return true;
                }

                if (!IsAtHand(key, keys, position))
                {
                    return false;
                }

                Charge(loop.Writes.AddKey(this, _retrieval.Verb, _retrieval.Exptime, key));
            }
            else if (key.IsEmpty)
            {
                return TryAnswer(ReplyCode.End);
            }
            else
            {
                if (_retrieval.Position >= _retrieval.FetchedPosition)
                {
                    _retrieval.FetchedPosition = _retrieval.Position;
                    Fetch(keys, Parser.comingKeys(keys, ref _retrieval.FetchedPosition, loop.ComingKeys));
                }

                LookupOutcome outcome = loop.EnterSnapshot().FindNow(key, loop.NowSeconds, _wanted, out Entry entry);

                if (outcome == LookupOutcome.ReadBlock)
                {
                    if (TryAwaitBlock(keys, position))
                    {
                        return false;
                    }

                    continue;
                }

                if (outcome == LookupOutcome.Unreadable)
                {
                    Refuse(default, default, Unreadable);
                    return true;
                }

                if (outcome == LookupOutcome.Found && !TryWriteEntry(in entry, _retrieval.Verb == Verb.Gets))
                {
                    return false;
                }

                if (outcome == LookupOutcome.Found)
                {
                    loop.Recency.Touch(in entry, loop.NowSeconds);
                }

                loop.Counters.Count(Decision.retrievalCounters(_retrieval.Verb, outcome == LookupOutcome.Found));
                loop.Counters.CountMiss(outcome);
            }

            _retrieval.Position = position;
            _wanted?.ReleaseUsed();

            if (_output is not null)
            {
                return false;
            }
        }

        return false;
    }
}
