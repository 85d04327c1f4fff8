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
        while (HasRoom(Reply.lineLengthMax))
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
            AuthenticationStep step = Authentication.step(rest);

            switch (step.Kind)
            {
                case AuthenticationStepKind.NeedMore:
                    _wantedLength = step.WantedBytes;
                    return false;

                case AuthenticationStepKind.Close:
                    _isClosing = true;
                    return false;

                case AuthenticationStepKind.Answer:
                    Put(Reply.line(step.Reply));
                    consumed += step.ConsumedBytes;
                    break;

                case AuthenticationStepKind.Check:
                    bool isKnown = passwords.Contains(
                        rest.Slice(step.UserOffset, step.UserLength), rest.Slice(step.PasswordOffset, step.PasswordLength));
                    loop.Counters.Count(Authentication.counters(isKnown));
                    Put(Reply.line(Authentication.answer(isKnown)));
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
