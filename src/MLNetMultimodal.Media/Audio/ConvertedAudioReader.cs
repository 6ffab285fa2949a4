using System.Buffers;
using System.Numerics.Tensors;

namespace MLNetMultimodal.Media.Audio;

// Mixes channels, then resamples; owns the reader that it reads.
sealed class ConvertedAudioReader : AudioReader
{
    const int BlockMoments = 4096; // about as many go out at a time, however the rates differ

    readonly AudioReader _source;
    readonly SincResampler[] _resamplers; // one per channel; none where the rate stays
    readonly ArrayBufferWriter<float>[] _ready; // per channel
    readonly float[] _block, _channel;
    int _given; // of what is ready
    bool _isOver;

    public ConvertedAudioReader(AudioReader source, int sampleRateHz, int channels) : base(source.Name, sampleRateHz, channels)
    {
        _source = source;
        int moments = (int)Math.Clamp((long)BlockMoments * source.SampleRateHz / sampleRateHz, 1, BlockMoments);
        (_block, _channel) = (new float[moments * source.Channels], new float[moments]);
        _ready = [.. Enumerable.Range(0, channels).Select(_ => new ArrayBufferWriter<float>())];
        _resamplers = source.SampleRateHz == sampleRateHz ? []
            : [.. Enumerable.Range(0, channels).Select(_ => new SincResampler(source.SampleRateHz, sampleRateHz))];
    }

    public override int Read(Span<float> interleaved)
    {
        if (interleaved.Length < Channels)
            throw new ArgumentException($"interleaved must have room for {Channels} values, but has {interleaved.Length}.",
                nameof(interleaved));
        while (_given == _ready[0].WrittenCount && !_isOver)
            ReadBlock();
        int moments = Math.Min(interleaved.Length / Channels, _ready[0].WrittenCount - _given);
        for (int c = 0; c < Channels; c++)
        {
            ReadOnlySpan<float> channel = _ready[c].WrittenSpan.Slice(_given, moments);
            for (int i = 0; i < moments; i++)
                interleaved[i * Channels + c] = channel[i];
        }
        _given += moments;
        return moments * Channels;
    }

    protected override void Dispose(bool disposing)
    {
        _source.Dispose();
        base.Dispose(disposing);
    }

    void ReadBlock()
    {
        int got = _source.Read(_block);
        _isOver = got == 0;
        _given = 0;
        for (int c = 0; c < Channels; c++)
        {
            ArrayBufferWriter<float> ready = _ready[c];
            ready.ResetWrittenCount();
            Span<float> channel = _channel.AsSpan(0, got / _source.Channels);
            Mix(_block.AsSpan(0, got), c, channel);
            if (_resamplers.Length == 0)
                ready.Write(channel);
            else if (_isOver)
                _resamplers[c].Complete(ready);
            else
                _resamplers[c].Write(channel, ready);
        }
    }

    // [T, channels of the source] -> [T]
    void Mix(ReadOnlySpan<float> block, int channel, Span<float> mixed)
    {
        int sources = _source.Channels;
        bool isMean = Channels == 1 && sources > 1;
        int first = isMean ? 0 : Math.Min(channel, sources - 1);
        for (int i = 0; i < mixed.Length; i++)
            mixed[i] = block[i * sources + first];
        if (!isMean)
            return;
        for (int c = 1; c < sources; c++)
            for (int i = 0; i < mixed.Length; i++)
                mixed[i] += block[i * sources + c];
        TensorPrimitives.Divide(mixed, sources, mixed);
    }
}
