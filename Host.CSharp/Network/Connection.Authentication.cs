using LsmFs.Engine;

namespace LsmFs.Host;

// The first commands of a client that must authenticate. Nothing it sends reaches the parser before.
internal sealed partial class Connection
{
    // Not null: the client has not authenticated.
    private PasswordFile? _passwords = loop.Server.Options.Passwords;

    /// <summary>Answers a client that has not authenticated; true once it has, when the bytes behind its password are commands.</summary>
    private bool TryAuthenticate(PasswordFile passwords, ReadOnlySpan<byte> input, ref int consumed)
    {
        while (HasRoom(Answer.codeLengthMax))
        {
            if (_workLeft-- <= 0)
            {
                if (!_isDue)
                {
                    MakeDue();
                }

                return false;
            }

            ReadOnlySpan<byte> rest = input[consumed..];
            AuthenticationStep step = _isBinary ? BinaryAuthentication.step(rest) : Authentication.step(rest);
            Dialect dialect = _isBinary ? Dialect.Binary : Dialect.Text;

            switch (step.Kind)
            {
                case AuthenticationStepKind.NeedMore:
                    _wantedLength = step.WantedBytes;
                    return false;

                case AuthenticationStepKind.Close:
                    _isClosing = true;
                    return false;

                case AuthenticationStepKind.AnswerAndClose:
                    PutCode(step.Reply, dialect, rest);
                    _isClosing = true;
                    return false;

                case AuthenticationStepKind.Answer:
                    PutCode(step.Reply, dialect, rest);
                    consumed += step.ConsumedBytes;
                    break;

                case AuthenticationStepKind.Failure:
                    loop.Counters.Count(Authentication.counters(false));
                    PutCode(step.Reply, dialect, rest);
                    consumed += step.ConsumedBytes;
                    break;

                case AuthenticationStepKind.Version:
                    _sendLength += BinaryReply.writeVersion(loop.SendBuffer.AsSpan(_sendLength), rest, loop.Server.Options.Version);
                    consumed += step.ConsumedBytes;
                    break;

                case AuthenticationStepKind.Check:
                    bool isKnown = passwords.Contains(
                        rest.Slice(step.UserOffset, step.UserLength), rest.Slice(step.PasswordOffset, step.PasswordLength));
                    loop.Counters.Count(Authentication.counters(isKnown));
                    PutCode(Authentication.answer(isKnown), dialect, rest);
                    consumed += step.ConsumedBytes;

                    if (isKnown)
                    {
                        _passwords = null;
                        return true;
                    }

                    break;
            }
        }

        return false;
    }
}
