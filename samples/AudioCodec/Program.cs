// Trains a neural audio codec of 3 kbit/s on recorded digits and compares it with plain requantisation at the same bit rate, on takes that it never heard.
// Needs: a folder of recordings named WORD_SPEAKER_TAKE.wav, such as the Free Spoken Digit Dataset's (--data FOLDER); --short makes sounds of its own.
//
//   dotnet run -c Release --project samples/AudioCodec -- --data FOLDER [--output audio-codec] [--epochs 27] [--hold-out SPEAKER] [--lstm 0] [--threads 1] [--seed 1] [--checkpoints FOLDER]
//   dotnet run -c Release --project samples/AudioCodec -- --short

using System.Globalization;
using Microsoft.ML;
using MLNetMultimodal;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Media.Audio;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Training;

CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
string Option(string name, string otherwise) => Array.IndexOf(args, "--" + name) is >= 0 and var i && i + 1 < args.Length ? args[i + 1] : otherwise;
int Number(string name, int otherwise) => int.Parse(Option(name, otherwise.ToString(CultureInfo.InvariantCulture)), CultureInfo.InvariantCulture);

const int rateHz = 8000, heldOutTakes = 5;
bool isShort = args.Contains("--short");
string output = Option("output", "audio-codec"), data = isShort ? Path.Combine(output, "voices") : Option("data", "");
if (isShort) Voices.Write(data, takes: heldOutTakes + 3);
Recording[] recordings = Directory.Exists(data) ? [.. Directory.EnumerateFiles(data, "*_*_*.wav").Order(StringComparer.Ordinal).Select(Recording.Of)] : [];
if (recordings.Length == 0)
{
    Console.Error.WriteLine($"'{data}' has no recordings named WORD_SPEAKER_TAKE.wav: name their folder with --data, or use --short.");
    return 1;
}
string heldOutSpeaker = Option("hold-out", "");
Recording[] test = [.. recordings.Where(r => r.Take < heldOutTakes)];
Recording[] train = [.. recordings.Where(r => r.Take >= heldOutTakes && r.Speaker != heldOutSpeaker)];

var ml = new MLContext(seed: 1);
DateTime start = DateTime.UtcNow, shown = start;
var trainer = ml.Multimodal.Trainers.AudioCodec(new()
{
    Audio = nameof(Recording.Path),
    Model = EncodecConfig.Small8k with { LstmLayers = Number("lstm", 0) },
    Epochs = Number("epochs", isShort ? 3 : 27),
    BatchSize = 16,
    LearningRate = 2.5e-3,
    EmaDecay = 0.98, // codebooks follow the weights as they are, so that their average must not be far behind
    SpectralWeight = 0.2,
    GainDb = 0, // the held-out takes are as loud as the others
    Threads = Number("threads", 1),
    Seed = Number("seed", 1),
    Checkpoints = Option("checkpoints", "") is { Length: > 0 } folder ? folder : null,
    CheckpointSteps = 200,
    Output = Path.Combine(output, "codec"),
    Progress = new Progress<TrainingStep>(s =>
    {
        if (s.Step < s.Steps && DateTime.UtcNow - shown < TimeSpan.FromSeconds(10)) return;
        shown = DateTime.UtcNow;
        Console.Error.WriteLine($"epoch {s.Epoch} step {s.Step:n0}/{s.Steps:n0} loss {s.Loss:f3} {s.Elapsed:mm\\:ss} gone, {s.Remaining:mm\\:ss} left");
    }),
});
using CodecTransformer fitted = trainer.Fit(ml.Data.LoadFromEnumerable(train));
AudioCodec codec = fitted.Codec;
Console.WriteLine($"trained on {train.Length} recordings in {(DateTime.UtcNow - start).TotalMinutes:f1} minutes\n");

List<(string Name, Func<float[], Func<float[], double>, (float[] Sound, long Bits)> Code)> ways = [];
foreach (float kbps in codec.Config.BandwidthsKbps)
    ways.Add(($"codec, {kbps} kbit/s", (sound, _) =>
    {
        CodedSound coded = codec.Encode(sound, kbps);
        return (codec.Decode(coded), coded.Segments.Sum(s => s.Codes.Length) * (long)Math.Log2(codec.Config.CodebookSize));
    }
    ));
foreach (Requantization plain in Requantization.Of3Kbps)
    ways.Add(($"{plain.RateHz} Hz x {plain.Bits} bit", (sound, quality) => plain.Code(sound, rateHz, quality)));

var mel = new LogMelSpectrogram(new() { SampleRateHz = rateHz, WindowSamples = 256, FftSamples = 256, HopSamples = 64, MelBins = 40, Centered = true, Floor = 1e-6f, Log = SpectrogramLog.Decibel });
Comparison[] all = [.. test.SelectMany(recording => ways.Select(way =>
{
    float[] sound = Comparison.Sound(recording.Path, rateHz);
    Range audible = Comparison.Audible(sound, rateHz);
    double Quality(float[] heard) => SoundQuality.SiSdr(sound.AsSpan()[audible], heard.AsSpan()[audible]);
    var (heard, bits) = way.Code(sound, Quality);
    return new Comparison(recording, way.Name, heard, Quality(heard), SoundQuality.MelDistance(sound, heard, mel), bits * (double)rateHz / sound.Length / 1000);
}))];

string[] speakers = [.. test.Select(r => r.Speaker).Distinct()];
Console.WriteLine($"{test.Length} held-out recordings; mean SI-SDR in dB, silence at the ends left out; mean mel distance in dB\n");
Console.WriteLine($"| | kbit/s | SI-SDR | {string.Join(" | ", speakers.Select(s => s == heldOutSpeaker ? $"{s} (never heard)" : s))} | mel |");
Console.WriteLine($"| --- | --- | --- | {string.Join(" | ", speakers.Select(_ => "---"))} | --- |");
foreach (var way in all.GroupBy(c => c.Way))
    Console.WriteLine($"| {way.Key} | {way.Average(c => c.Kbps):f2} | {way.Average(c => c.SiSdr):f2} | "
        + $"{string.Join(" | ", speakers.Select(s => way.Where(c => c.Recording.Speaker == s).Average(c => c.SiSdr).ToString("f2")))} | {way.Average(c => c.MelDistance):f2} |");

string best = ways.Select(w => w.Name).Where(n => n.Contains("bit") && !n.StartsWith("codec")).MaxBy(n => all.Where(c => c.Way == n).Average(c => c.SiSdr))!, whole = ways.Last(w => w.Name.StartsWith("codec")).Name;
double gain = all.Where(c => c.Way == whole).Average(c => c.SiSdr) - all.Where(c => c.Way == best).Average(c => c.SiSdr);
Console.WriteLine($"\n{whole} is {Math.Abs(gain):f2} dB {(gain < 0 ? "below" : "above")} the best requantisation, {best}");
foreach (Recording recording in speakers.Select(s => test.First(r => r.Speaker == s)))
{
    string name = Path.Combine(output, Path.GetFileNameWithoutExtension(recording.Path));
    WavWriter.Save(new(Comparison.Sound(recording.Path, rateHz), rateHz), name + "-original.wav");
    foreach (var (way, suffix) in new[] { (whole, "codec"), (best, "requantised") })
        WavWriter.Save(new(all.First(c => c.Way == way && c.Recording == recording).Heard, rateHz), $"{name}-{suffix}.wav");
}
return 0;
