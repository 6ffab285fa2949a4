using BenchmarkDotNet.Attributes;
using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Diagnosers;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Reports;
using BenchmarkDotNet.Running;
using BenchmarkDotNet.Toolchains.InProcess.Emit;
using MLNetMultimodal.Benchmarks.Material;
using MLNetMultimodal.Benchmarks.Running;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Media.Text;

namespace MLNetMultimodal.Benchmarks.Sections;

/// <summary>Tokenizer, decoder and resampler by BenchmarkDotNet.</summary>
static class Micro
{
    public static void Measure(BenchmarkRun run)
    {
        MediaBenchmarks.Picture = Pictures.Jpegs(run, run.Size(512, 16))[0];
        MediaBenchmarks.Vocabulary = ModelFolders.TinyClip(run);
        Job job = (run.Quick ? Job.Dry : Job.ShortRun).WithToolchain(InProcessEmitToolchain.Instance);
        IConfig config = ManualConfig.Create(DefaultConfig.Instance).AddJob(job).AddDiagnoser(MemoryDiagnoser.Default)
            .WithArtifactsPath(Path.Combine(run.Cache, "BenchmarkDotNet")).WithOptions(ConfigOptions.DisableLogFile);
        Summary summary = BenchmarkRunner.Run<MediaBenchmarks>(config);
        if (summary.HasCriticalValidationErrors || summary.Reports.Any(r => !r.Success))
            throw new BenchmarkException("BenchmarkDotNet failed; its own output says why.");
        run.Versions["BenchmarkDotNet"] = Machine.VersionOf(typeof(BenchmarkRunner));
        foreach (BenchmarkReport report in summary.Reports)
        {
            string what = report.BenchmarkCase.Descriptor.WorkloadMethodDisplayInfo.Trim('\'');
            run.Add(new(what, Quantity.Of([.. report.ResultStatistics!.OriginalValues.Select(ns => ns / 1e3)], "µs")));
            long allocated = report.GcStats.GetBytesAllocatedPerOperation(report.BenchmarkCase) ?? 0;
            run.Add(new($"{what}: allocated", Quantity.Of(allocated / 1e3, "kB")));
        }
        run.Note($"{(run.Quick ? "Dry" : "Short")} jobs of BenchmarkDotNet in this process, one thread.");
    }
}

/// <summary>What is measured; BenchmarkDotNet wants it public.</summary>
public class MediaBenchmarks
{
    const string Sentence = "a photo of a small wooden sailing boat near the river";

    byte[] _jpeg = [];
    RgbImage _picture = new(1, 1, new byte[3]);
    RgbImage _small = new(1, 1, new byte[3]);
    TextTokenizer? _tokenizer;
    readonly ImagePreprocessing _clip = ImagePreprocessing.Clip(224);
    readonly float[] _pixels = new float[3 * 224 * 224];

    internal static string Picture { get; set; } = "";

    internal static string Vocabulary { get; set; } = "";

    /// <summary>Reads what is worked on.</summary>
    [GlobalSetup]
    public void Read()
    {
        _jpeg = File.ReadAllBytes(Picture);
        _picture = ImageDecoder.Decode(_jpeg);
        _small = _clip.ResizeAndCrop(_picture);
        _tokenizer = TextTokenizer.Load(Vocabulary);
    }

    [Benchmark(Description = "decode a JPEG of 640x480")]
    public RgbImage Decode() => ImageDecoder.Decode(_jpeg);

    [Benchmark(Description = "bicubic 640x480 to 224x224")]
    public RgbImage Resample() => _clip.ResizeAndCrop(_picture);

    [Benchmark(Description = "normalise 224x224")]
    public void Normalize() => _clip.Normalize(_small, _pixels);

    [Benchmark(Description = "tokenise a text of 53 characters")]
    public object Tokenize() => _tokenizer!.Encode(Sentence);
}
