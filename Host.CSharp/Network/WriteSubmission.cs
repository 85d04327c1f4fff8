using System.Runtime.CompilerServices;
using LsmFs.Engine;
using Microsoft.FSharp.Core;
using Decision = LsmFs.Engine.Execute;

namespace LsmFs.Host;

// Invariants
//   1. Requests are executed, and their replies lie in the reply buffer, in the order in which they were added.
//   2. The loop adds and delivers, the committing thread executes; Submit and IsCompleted hand the object over, so nothing is locked.

/// <summary>The writes of one loop's turn: commands of many connections, with the bytes they came from and the replies they get.</summary>
internal sealed class WriteSubmission(EventLoop loop) : Submission
{
    /// <summary>What a request is charged for beside its bytes.</summary>
    public const int RequestCharge = 64;

    /// <summary>What a request that replies with a value is charged for: it is not known before the commit how long the value is.</summary>
    public const int ValueReplyCharge = 64 * 1024;

    private static readonly string OutOfSpace = DiskSpace.reason(DiskTrouble.Full);

    private const int InputBytesKept = 2 * 1024 * 1024;
    private const int ReplyBytesKept = 256 * 1024;

    private readonly ByteBuffer _input = new(4096);
    private readonly ByteBuffer _replies = new(4096);
    private readonly byte[] _keyScratch = new byte[ProtocolLimits.keyScratchLength];
    private readonly int _valueLengthMax = loop.Server.Options.ValueLengthMax;
    private Request[] _requests = new Request[16];
    private CommitOutcome _outcome;
    private volatile bool _isCompleted;

    /// <summary>One command, or one key of a command that has several.</summary>
    private struct Request
    {
        public Connection Connection;
        public Command Command;
        public int InputOffset;
        public int InputLength;
        public int ReplyEnd;
        public int Charge;
        public bool AnswersRefusal;
    }

    /// <summary>Requests so far.</summary>
    public int Count { get; private set; }

    /// <summary>Bytes of commands so far.</summary>
    public int LengthBytes => _input.Length;

    /// <summary>Bytes of the memory that it keeps for its next use.</summary>
    public long HeldBytes => _input.Bytes.Length + _replies.Bytes.Length + ((long)_requests.Length * Unsafe.SizeOf<Request>());

    /// <summary>The sum of what the requests are charged for.</summary>
    public long ChargedBytes { get; private set; }

    /// <summary>Whether the store is done with it.</summary>
    public bool IsCompleted => _isCompleted;

    /// <summary>What the requests count as, once they are committed.</summary>
    public LoopCounters Counters { get; } = new();

    /// <summary>Adds a command with the bytes it was parsed from; returns what it is charged for.</summary>
    public int Add(Connection connection, in Command command, ReadOnlySpan<byte> input) =>
        Add(
            connection,
            command,
            input,
            RequestCharge + input.Length + (Decision.repliesWithValue(command) ? ValueReplyCharge : 0),
            // Only the classic noreply silences refusals too.
            answersRefusal: !command.NoReply || command.Dialect != Dialect.Text);

    /// <summary>Adds one key of a retrieval that writes; returns what it is charged for.</summary>
    public int AddKey(Connection connection, Verb verb, int exptime, ReadOnlySpan<byte> key)
    {
        var command = new Command(verb, Dialect.Text, false, 0, key.Length, key.Length, 0, exptime, 0, 0, 0);
        return Add(connection, command, key, RequestCharge + key.Length + ValueReplyCharge, answersRefusal: false);
    }

    /// <summary>Adds the end of a retrieval that writes; returns what it is charged for.</summary>
    public int AddEnd(Connection connection) => Add(connection, default, default, RequestCharge, answersRefusal: true);

    /// <summary>Gives every connection the replies to its requests. In a turn of the loop, after completion.</summary>
    public void DeliverReplies()
    {
        if (!_outcome.IsCommitted)
        {
            RefuseAll();
        }

        int first = 0;

        while (first < Count)
        {
            Connection connection = _requests[first].Connection;
            int charge = 0;
            int end = first;

            for (; end < Count && _requests[end].Connection == connection; end++)
            {
                charge += _requests[end].Charge;
            }

            int start = first == 0 ? 0 : _requests[first - 1].ReplyEnd;
            connection.OnCompleted(end - first, charge, _replies.Written[start.._requests[end - 1].ReplyEnd]);
            first = end;
        }
    }

    /// <summary>Empties the submission for its next use.</summary>
    public void Reset()
    {
        // Closed connections must not live on in here.
        Array.Clear(_requests, 0, Count);
        Count = 0;
        ChargedBytes = 0;
        Counters.Clear();
        _input.ClearAndTrim(InputBytesKept);
        _replies.ClearAndTrim(ReplyBytesKept);
        _isCompleted = false;
    }

    // Each request is answered for itself.
    protected internal override bool NeedsPuts => false;

    protected internal override void Execute(WriteContext context)
    {
        Span<byte> scratch = stackalloc byte[ProtocolLimits.scratchLength];
        // An execution before this one did not count.
        _replies.Clear();
        Counters.Clear();

        for (int index = 0; index < Count; index++)
        {
            ref Request request = ref _requests[index];

            if (request.Command.Verb == Verb.None)
            {
                if (request.Connection.IsRetrievalRefused)
                {
                    Refuse(in request, OutOfSpace);
                    request.Connection.IsRetrievalRefused = false;
                }
                else
                {
                    _replies.Append(Reply.line(ReplyCode.End));
                }
            }
            else
            {
                Execute(context, in request, scratch);
            }

            request.ReplyEnd = _replies.Length;
        }
    }

    protected internal override void Completed(CommitOutcome outcome)
    {
        _outcome = outcome;

        if (!outcome.IsCommitted)
        {
            Counters.Clear();
        }

        _isCompleted = true;
        loop.OnCompleted();
    }

    private int Add(Connection connection, in Command command, ReadOnlySpan<byte> input, int charge, bool answersRefusal)
    {
        if (Count == _requests.Length)
        {
            Array.Resize(ref _requests, Count * 2);
        }

        ref Request request = ref _requests[Count];
        request.Connection = connection;
        request.Command = command;
        request.InputOffset = _input.Length;
        request.InputLength = input.Length;
        request.Charge = charge;
        request.AnswersRefusal = answersRefusal;
        input.CopyTo(_input.Reserve(input.Length));
        ChargedBytes += charge;
        Count++;
        return charge;
    }

    private ReadOnlySpan<byte> InputOf(in Request request) => _input.Written.Slice(request.InputOffset, request.InputLength);

    /// <summary>Answers that the request is not carried out, if the client wants to know.</summary>
    private void Refuse(in Request request, string reason)
    {
        if (request.AnswersRefusal)
        {
            Answer.appendRefusal(_replies, in request.Command, InputOf(in request), reason);
        }
    }

    /// <summary>Puts refusals in the place of the replies.</summary>
    private void RefuseAll()
    {
        _replies.Clear();

        for (int index = 0; index < Count; index++)
        {
            Refuse(in _requests[index], _outcome.Refusal!);
            _requests[index].ReplyEnd = _replies.Length;
        }
    }

    private void Execute(WriteContext context, in Request request, Span<byte> scratch)
    {
        ReadOnlySpan<byte> input = InputOf(in request);
        ReadOnlySpan<byte> key = Answer.key(in request.Command, input, _keyScratch);
        FSharpValueOption<Entry> current = default;

        if (Decision.needsCurrent(request.Command.Verb))
        {
            LookupOutcome outcome = context.Find(key, out Entry entry);

            if (outcome == LookupOutcome.Found)
            {
                current = FSharpValueOption<Entry>.Some(entry);
            }
            else if (outcome == LookupOutcome.Unreadable)
            {
                // Deciding without the current value would lose it.
                Refuse(in request, Connection.Unreadable);
                return;
            }
            else if (request.Command.Verb is Verb.Gat or Verb.Gats or Verb.MetaGet)
            {
                Counters.CountMiss(outcome);
            }
        }

        Change change = Decision.decide(in request.Command, input, in current, context.NowSeconds, _valueLengthMax, scratch);

        if (!context.AdmitsPuts && !Decision.isRemoval(change.Kind))
        {
            Refuse(in request, OutOfSpace);
            request.Connection.IsRetrievalRefused |= Decision.isRetrieval(in request.Command);
            return;
        }

        Counters.Count(change.Counters);

        // The entry is only good until the write.
        Access access = current.IsSome ? loop.Recency.Find(current.Value) : default;

        if (change.Reply != ReplyCode.None)
        {
            ulong cas = change.Cas == 0 ? context.NextSequence : change.Cas;
            AnswerContext answerContext = new(context.NowSeconds, cas, access);
            Answer.appendChange(_replies, in request.Command, input, key, in change, in current, in answerContext);
        }

        switch (change.Kind)
        {
            case ChangeKind.Put:
                Counters.TotalItems += Decision.makesItem(in change, in current) ? 1 : 0;
                loop.Recency.Record(context.NextSequence, Recency.after(change.Access, access, context.NowSeconds));
                context.Put(key, change.Head, change.Tail, change.Flags, change.ExpirySeconds, change.Cas, change.Marks);
                break;
            case ChangeKind.Delete:
                context.Delete(key);
                break;
            case ChangeKind.FlushAll:
                context.FlushAll(change.ExpirySeconds);
                break;
        }
    }
}
