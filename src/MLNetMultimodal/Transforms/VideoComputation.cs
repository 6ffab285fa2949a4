using System.Buffers;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using MLNetMultimodal.Batching;
using MLNetMultimodal.Media.Audio;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Media.Video;

namespace MLNetMultimodal.Transforms;

/// <summary>Rows whose videos are decoded.</summary>
sealed class VideoBatch(int rows, VideoPart part, bool sees, bool hears) : RowBatch
{
    public VideoPart Part => part;

    /// <summary>Whether frames or their times are asked for.</summary>
    public bool Sees => sees;

    /// <summary>Whether the soundtrack is.</summary>
    public bool Hears => hears;

    /// <summary>[B][T, H, W, 3].</summary>
    public ReadOnlyMemory<byte>[] Frames { get; } = new ReadOnlyMemory<byte>[rows];

    /// <summary>[B][samples].</summary>
    public float[][] Sounds { get; } = new float[rows][];

    public Exception?[] FrameErrors { get; } = new Exception?[rows];

    public Exception?[] SoundErrors { get; } = new Exception?[rows];
}

/// <summary>Decodes frames and soundtracks, on worker threads.</summary>
sealed class VideoComputation : BatchComputation<VideoBatch>
{
    /// <summary>Annotations of a column of frames: frames per second, and sizes in pixels.</summary>
    public const string RateAnnotation = "FramesPerSecond", HeightAnnotation = "FrameHeight", WidthAnnotation = "FrameWidth";

    const int FramesOutput = 0, TimesOutput = 1, SoundOutput = 2;

    readonly IHost _host;
    readonly LoadVideoOptions _options;
    readonly VideoColumn _video;
    readonly ImagePreprocessing _images;
    readonly int _frameSize;

    public VideoComputation(IHost host, LoadVideoOptions options)
    {
        (_host, _options, _video) = (host, options, options.Column);
        _images = ImagePreprocessing.Clip(options.Size);
        _frameSize = 3 * options.Size * options.Size;
        DataViewSchema.Annotations Beside(params ReadOnlySpan<string> sizes)
        {
            var builder = new DataViewSchema.Annotations.Builder();
            builder.Add(RateAnnotation, NumberDataViewType.Single, (ref float value) => value = (float)options.FramesPerSecond);
            foreach (string name in sizes)
                builder.Add(name, NumberDataViewType.Int32, (ref int value) => value = options.Size);
            return builder.ToAnnotations();
        }
        List<OutputColumn> outputs =
        [
            new(options.Output, new VectorDataViewType(NumberDataViewType.Byte, 0, options.Size, options.Size, 3),
                Beside(HeightAnnotation, WidthAnnotation)),
            new(options.FrameTimes, new VectorDataViewType(NumberDataViewType.Single), Beside()),
        ];
        if (options.Soundtrack is { } sound)
        {
            var rate = new DataViewSchema.Annotations.Builder();
            rate.Add(SoundColumn.SampleRateAnnotation, NumberDataViewType.Int32, (ref int value) => value = options.SampleRateHz);
            outputs.Add(new(sound, new VectorDataViewType(NumberDataViewType.Single), rate.ToAnnotations()));
        }
        Outputs = outputs;
    }

    /// <summary>One: a video is a batch of pictures by itself.</summary>
    public override int BatchSize => 1;

    public override IReadOnlyList<OutputColumn> Outputs { get; }

    public override IEnumerable<DataViewSchema.Column> Inputs(DataViewSchema input, Func<int, bool> isActive) =>
        [_video.Find(input)];

    public override VideoBatch NewBatch(int rows, Func<int, bool> isActive) => new(rows, _video.NewPart(rows),
        isActive(FramesOutput) || isActive(TimesOutput), _options.Soundtrack is not null && isActive(SoundOutput));

    public override Action<VideoBatch, int> Reader(DataViewRow input, Func<int, bool> isActive)
    {
        Action<VideoPart, int> read = _video.Reader(input);
        return (batch, slot) => read(batch.Part, slot);
    }

    public override void Prepare(VideoBatch batch, int slot)
    {
        (batch.Frames[slot], batch.Sounds[slot], batch.FrameErrors[slot], batch.SoundErrors[slot]) = (default, [], null, null);
        try
        {
            _video.Open(batch.Part, slot, (decoder, path) =>
            {
                if (batch.Sees)
                    batch.FrameErrors[slot] = Try(batch, slot, () => batch.Frames[slot] = See(decoder, path));
                if (batch.Hears)
                    batch.SoundErrors[slot] = Try(batch, slot, () => batch.Sounds[slot] = Hear(decoder, path));
                return true;
            });
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            batch.FrameErrors[slot] = batch.SoundErrors[slot] =
                _video.Unreadable(batch.Part, slot, batch.FirstRow + slot, e);
        }
    }

    public override void Run(VideoBatch batch, int count) { }

    public override Delegate Getter(int output, Func<(VideoBatch Batch, int Slot)> current) => output switch
    {
        FramesOutput => (ValueGetter<VBuffer<byte>>)((ref VBuffer<byte> value) => Columns.Fill(ref value, Seen(current).Span)),
        TimesOutput => (ValueGetter<VBuffer<float>>)((ref VBuffer<float> value) => Columns.Fill<float>(ref value,
            [.. Enumerable.Range(0, Seen(current).Length / _frameSize).Select(t => (float)(t / _options.FramesPerSecond))])),
        _ => (ValueGetter<VBuffer<float>>)((ref VBuffer<float> value) =>
        {
            var (batch, slot) = current();
            Columns.Fill<float>(ref value, Checked(batch.Sounds[slot], batch.SoundErrors[slot]));
        }),
    };

    public override int Failures(VideoBatch batch, int count) => _options.OnError == OnError.Throw ? 0
        : batch.FrameErrors.Take(count).Count(e => e is not null && batch.Sees)
            + batch.SoundErrors.Take(count).Count(e => e is not null && batch.Hears);

    public override void Report(long failures) =>
        Warn(_host, "LoadVideo", $"{failures} frame columns or soundtracks could not be read; they are missing.");

    ReadOnlyMemory<byte> Seen(Func<(VideoBatch Batch, int Slot)> current)
    {
        var (batch, slot) = current();
        return Checked(batch.Frames[slot], batch.FrameErrors[slot]);
    }

    T Checked<T>(T value, Exception? error) => error is not null && _options.OnError == OnError.Throw ? throw error : value;

    InvalidDataException? Try(VideoBatch batch, int slot, Action read)
    {
        try
        {
            read();
            return null;
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            return _video.Unreadable(batch.Part, slot, batch.FirstRow + slot, e);
        }
    }

    ReadOnlyMemory<byte> See(VideoDecoder decoder, string path)
    {
        var frames = new ArrayBufferWriter<byte>();
        foreach (VideoFrame frame in decoder.Frames(path, _options.FramesPerSecond).Take(_options.MaxFrames))
            frames.Write(_images.ResizeAndCrop(frame.Image).Pixels);
        return frames.WrittenMemory;
    }

    float[] Hear(VideoDecoder decoder, string path)
    {
        using AudioReader track = decoder.OpenSoundtrack(path).Convert(_options.SampleRateHz, 1);
        return track.ReadWaveform((long)Math.Ceiling(_options.MaxFrames / _options.FramesPerSecond * _options.SampleRateHz))
            .Samples.ToArray();
    }
}
