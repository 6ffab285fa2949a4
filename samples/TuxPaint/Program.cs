// Reads a collection of pictures, texts in many languages, sounds and speech as it lies on disk: one row a stamp, and what a stamp
// lacks is a missing value. Counts what is there, listens to the sounds, and embeds pictures beside missing ones.
// Needs: the Debian package tuxpaint-stamps-default (or its folder elsewhere: --data FOLDER), and ffmpeg for its Ogg files. Takes
// half a minute on two cores.
//
//   dotnet run -c Release --project samples/TuxPaint -- [--data FOLDER] [--language fr] [--rows 200]

using System.Globalization;
using System.Text.RegularExpressions;
using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal;
using MLNetMultimodal.Media.Audio;
using MLNetMultimodal.Starter;

CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
string Option(string name, string otherwise) =>
    Array.IndexOf(args, "--" + name) is >= 0 and var i && i + 1 < args.Length ? args[i + 1] : otherwise;

string folder = Option("data", "/usr/share/tuxpaint/stamps"), language = Option("language", "fr");
if (!Directory.Exists(folder))
{
    Console.Error.WriteLine($"there is no folder '{folder}': install the Debian package tuxpaint-stamps-default, or name its folder "
        + "of stamps with --data.");
    return 1;
}
if (!FFmpegProgram.Default.IsAvailable)
{
    Console.Error.WriteLine("the stamps' sounds are Ogg files, which need ffmpeg: install the Debian package ffmpeg.");
    return 1;
}
if (!Regex.IsMatch(language, "^[a-z]{2,3}(_[A-Z]{2})?$") || !int.TryParse(Option("rows", "200"), out int rows) || rows < 1)
{
    Console.Error.WriteLine("--language takes a language, such as en, fr or es; --rows the number of stamps to listen to.");
    return 2;
}

// Speech in English has no language in its name; sounds may be of a language or of all.
var ml = new MLContext(seed: 1);
string speech = language == "en" ? "{}_desc" : $"{{}}_desc_{language}";
IDataView files = ml.Data.LoadFileGroups(folder, new()
{
    Columns =
    [
        new("Picture", "{}.png", "{}.svg"), new("TextFile", "{}.txt"),
        new("Sound", $"{{}}_{language}.ogg", "{}.ogg", "{}.wav"), new("Speech", $"{speech}.ogg", $"{speech}.wav"),
    ],
    Keeps = name => !Regex.IsMatch(name, "_(mirror|flip)$"), // other views of a stamp
});
IDataView stamps = ml.Transforms.CustomMapping<TextFile, Text>(
    (file, text) => text.Words = StampTexts.Read(file.File, language), contractName: null).Fit(files).Transform(files);

string[] Paths(string column) => [.. stamps.GetColumn<string>(column)];
string[] names = Paths("Item"), texts = Paths("Text");
Console.WriteLine($"{names.Length} stamps in '{folder}'");
foreach (string column in (string[])["Picture", "Text", "Sound", "Speech"])
    Console.WriteLine($"  {column,-8} {Paths(column).Count(v => v.Length > 0),4}, missing {Paths(column).Count(v => v.Length == 0),4}"
        + (column is "Text" or "Speech" ? $" ({language})" : ""));
string[] ogg = [.. Directory.EnumerateFiles(folder, "*.ogg", SearchOption.AllDirectories).Select(f => Path.GetFileNameWithoutExtension(f)!)];
IGrouping<string, string>[] spoken = [.. ogg.Select(f => Regex.Match(f, "_desc(?:_([A-Za-z_]+))?$")).Where(m => m.Success)
    .GroupBy(m => m.Groups[1].Success ? m.Groups[1].Value : "en", m => m.Value).OrderByDescending(g => g.Count())];
Console.WriteLine($"{ogg.Length} Ogg files: {ogg.Length - spoken.Sum(g => g.Count())} sounds, of which "
    + $"{names.Count(n => File.Exists(Path.Combine(folder, n + ".ogg")))} are a stamp's own and the others of one language or without a stamp, and "
    + $"{spoken.Sum(g => g.Count())} descriptions:");
Console.WriteLine($"  {string.Join(", ", spoken.Select(g => $"{g.Key} {g.Count()}"))}");

// Sounds and speech side by side; a stamp without one of them is a row like any other.
IDataView some = ml.Data.TakeRows(stamps, rows);
IEstimator<ITransformer> listening = ml.Transforms.LoadAudio(new() { Audio = "Sound", Output = "SoundSamples", OnError = OnError.Missing })
    .Append(ml.Transforms.LoadAudio(new() { Audio = "Speech", Output = "SpeechSamples", OnError = OnError.Missing }));
IDataView heard = listening.Fit(some).Transform(some);
Heard[] clips = [.. ml.Data.CreateEnumerable<Heard>(heard, reuseRowObject: false).Select(row => new Heard
{
    Item = row.Item,
    Seconds = row.SoundSamples.Length / 16_000.0,
    SpeechSeconds = row.SpeechSamples.Length / 16_000.0,
})];
int lost = clips.Zip(Paths("Sound").Zip(Paths("Speech"))).Sum(row =>
    (row.Second.First.Length > 0 && row.First.Seconds == 0 ? 1 : 0) + (row.Second.Second.Length > 0 && row.First.SpeechSeconds == 0 ? 1 : 0));
Console.WriteLine($"of the first {clips.Length} stamps: {clips.Count(c => c.Seconds > 0)} sounds of {clips.Sum(c => c.Seconds):f0} s and "
    + $"{clips.Count(c => c.SpeechSeconds > 0)} descriptions of {clips.Sum(c => c.SpeechSeconds):f0} s; {lost} files could not be decoded");
foreach (var (clip, text) in clips.Zip(texts).Where(c => c.First is { Seconds: > 0, SpeechSeconds: > 0 }).Take(5))
    Console.WriteLine($"  {clip.Item}: \"{text}\", sound {clip.Seconds:f1} s, description {clip.SpeechSeconds:f1} s");

// Pictures: drawings in SVG are none that the decoder knows, and are missing values too.
using MultimodalTransformer embed = ml.Transforms.MultimodalEmbed(
    new() { Model = StarterModel.Folder, Image = "Picture", OnError = OnError.Missing }).Fit(some);
float[][] embeddings = [.. embed.Transform(some).GetColumn<float[]>("Embedding")];
Console.WriteLine($"{embeddings.Count(e => !float.IsNaN(e[0]))} pictures embedded, {embeddings.Count(e => float.IsNaN(e[0]))} missing");
return lost == 0 ? 0 : 1;

sealed class TextFile
{
    [ColumnName("TextFile")]
    public string File { get; set; } = "";
}

sealed class Text
{
    [ColumnName("Text")]
    public string Words { get; set; } = "";
}

sealed class Heard
{
    public string Item { get; set; } = "";

    public float[] SoundSamples { get; set; } = [];

    public float[] SpeechSamples { get; set; } = [];

    [NoColumn]
    public double Seconds { get; set; }

    [NoColumn]
    public double SpeechSeconds { get; set; }
}
