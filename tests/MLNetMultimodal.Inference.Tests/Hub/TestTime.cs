using System.Collections.Concurrent;

namespace MLNetMultimodal.Inference.Tests.Hub;

/// <summary>A clock that no test waits for: waits end at once and are written down; time-outs, which are timers that are armed
/// again and again, never come but when a test asks for one.</summary>
sealed class TestTime : TimeProvider
{
    /// <summary>The waits between attempts.</summary>
    public ConcurrentQueue<TimeSpan> Waits { get; } = new();

    /// <summary>True: the next time-out that is armed comes at once.</summary>
    public volatile bool StallsNext;

    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        if (dueTime == Timeout.InfiniteTimeSpan) return new TimeOut(this, () => callback(state));
        Waits.Enqueue(dueTime);
        return System.CreateTimer(callback, state, TimeSpan.Zero, Timeout.InfiniteTimeSpan);
    }

    sealed class TimeOut(TestTime time, Action elapse) : ITimer
    {
        public bool Change(TimeSpan dueTime, TimeSpan period)
        {
            if (dueTime == Timeout.InfiniteTimeSpan || !time.StallsNext) return true;
            time.StallsNext = false;
            ThreadPool.QueueUserWorkItem(_ => elapse());
            return true;
        }

        public void Dispose()
        {
        }

        public ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }
}
