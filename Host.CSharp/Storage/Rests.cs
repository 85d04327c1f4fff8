using LsmFs.Engine;

namespace LsmFs.Host;

/// <summary>
/// Has a thread of background work rest a moment now and then, as the engine's <see cref="Resting"/> says. One owner.
/// </summary>
/// <param name="mayRest">Whether nobody waits for the work.</param>
/// <param name="clock">What work is measured by.</param>
internal sealed class Rests(Func<bool> mayRest, TimeProvider clock)
{
    private readonly long _workTicks = Resting.workNanoseconds * clock.TimestampFrequency / 1_000_000_000;
    private long _workedSince = clock.GetTimestamp();

    /// <summary>Rests, if enough was done since the last rest. Called between two pieces of work.</summary>
    internal void RestWhenDue()
    {
        if (clock.GetTimestamp() - _workedSince >= _workTicks)
        {
            if (mayRest())
            {
                Posix.Rest(Resting.restNanoseconds);
            }

            _workedSince = clock.GetTimestamp();
        }
    }
}
