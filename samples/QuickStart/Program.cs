// Classifies pictures with classes named in words, and searches pictures with words, through an ML.NET pipeline.
// No training, no download.
// Needs: nothing but the .NET SDK. Takes a few seconds.
//
//   dotnet run --project samples/QuickStart
//   dotnet run --project samples/QuickStart -- [--pictures FOLDER] [--labels a,b,c] [--queries "a bag;a dress"]
//                                              [--model FOLDER] [--output quickstart.png]

using System.Numerics.Tensors;
using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Starter;
using QuickStart;

string Option(string name, string otherwise) =>
    Array.IndexOf(args, "--" + name) is >= 0 and var i && i + 1 < args.Length ? args[i + 1] : otherwise;

string folder = Path.GetFullPath(Option("pictures", Path.Combine(AppContext.BaseDirectory, "pictures")));
string output = Path.GetFullPath(Option("output", "quickstart.png"));
string[] labels = Option("labels", "t-shirt,trouser,pullover,dress,coat,sandal,shirt,sneaker,bag,ankle boot")
    .Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);
const string Queries = "a pair of trousers;a photo of a handbag.;a jumper;something to wear on the feet;a summer dress;"
    + "what a man wears at the beach";
string[] queries = Option("queries", Queries).Split(';', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);
string[] templates = ["a photo of a {}.", "a picture of a {}.", "a {}."];
if (!Directory.Exists(folder))
{
    Console.Error.WriteLine($"the folder '{folder}' does not exist; name one with --pictures.");
    return 1;
}
string[] endings = [".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"];
Picture[] pictures = [.. Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories)
    .Where(f => endings.Contains(Path.GetExtension(f).ToLowerInvariant())).Order(StringComparer.Ordinal)
    .Select(f => new Picture { ImagePath = f, Truth = Path.GetFileName(Path.GetDirectoryName(f)!) })];
if (pictures.Length == 0 || labels.Length == 0)
{
    Console.Error.WriteLine(
        labels.Length == 0
            ? "name the classes with --labels a,b,c."
            : $"'{folder}' has no pictures ({string.Join(", ", endings)}).");
    return 1;
}

var ml = new MLContext(seed: 1);
using MultimodalModel model = MultimodalModel.Load(Option("model", StarterModel.Folder));
IDataView data = ml.Data.LoadFromEnumerable(pictures);

// 1. Zero-shot: the classes are words. A picture whose folder has the name of a class can be checked.
using var classifier = ml.Transforms.ZeroShotClassify(new()
{
    LoadedModel = model,
    Image = "ImagePath",
    Labels = labels,
    Templates = templates,
    TopK = 1,
}).Fit(data);
Console.WriteLine($"Zero-shot, {pictures.Length} pictures, {labels.Length} classes, prompts: {string.Join(" | ", templates)}\n");
int widest = pictures.Max(p => Name(p.ImagePath).Length), widestLabel = labels.Max(l => l.Length), right = 0, known = 0;
Console.WriteLine($"{"file".PadRight(widest)}  {"prediction".PadRight(widestLabel)}  score");
foreach (Prediction p in ml.Data.CreateEnumerable<Prediction>(classifier.Transform(data), reuseRowObject: false))
{
    bool isKnown = labels.Contains(p.Truth), isRight = p.TopLabels[0] == p.Truth;
    (known, right) = (known + (isKnown ? 1 : 0), right + (isRight ? 1 : 0));
    string verdict = !isKnown ? "" : isRight ? "  right" : "  wrong";
    Console.WriteLine(
        $"{Name(p.ImagePath).PadRight(widest)}  {p.TopLabels[0].PadRight(widestLabel)}  {p.TopScores[0]:f3}{verdict}");
}
if (known > 0)
    Console.WriteLine($"\n{right} of {known} are right ({(double)right / known:p1}); guessing gives {1.0 / labels.Length:p1}.");

// 2. Search: pictures and texts are points in one space, near each other where they mean the same.
// Some queries hold words that the starter never saw.
using var images = ml.Transforms.MultimodalEmbed(new() { LoadedModel = model, Image = "ImagePath" }).Fit(data);
float[][] embeds = [.. images.Transform(data).GetColumn<float[]>("Embedding")];
IDataView texts = ml.Data.LoadFromEnumerable(queries.Select(q => new Query { Text = q }));
using var words = ml.Transforms.MultimodalEmbed(new() { LoadedModel = model, Text = "Text" }).Fit(texts);
float[][] queryEmbeds = [.. words.Transform(texts).GetColumn<float[]>("Embedding")];
(string Query, Found[] Found)[] results = [.. queries.Zip(queryEmbeds, (query, text) => (query, embeds
    .Select((image, i) => new Found(pictures[i].ImagePath, Caption(pictures[i]), TensorPrimitives.Dot<float>(text, image)))
    .OrderByDescending(f => f.Score).Take(5).ToArray()))];
Console.WriteLine("\nText-to-image search, the five nearest of all pictures (cosine)");
foreach ((string query, Found[] found) in results)
{
    Console.WriteLine($"\n\"{query}\"");
    foreach (Found f in found) Console.WriteLine($"  {f.Score:f3}  {Name(f.Path)}");
}
if (results.Length == 0) return 0;
if (Option("model", "").Length == 0)
{
    Console.WriteLine("\nThe starter knows the words of its captions, names of clothing.");
    Console.WriteLine("What it makes of other words is guesswork, and no score says so.");
}
ContactSheet.Save(output, results);
Console.WriteLine($"\nThe found pictures are in {output}");
return 0;

string Caption(Picture picture) => labels.Contains(picture.Truth) ? picture.Truth : Name(picture.ImagePath);

string Name(string path) => Path.GetRelativePath(folder, path).Replace('\\', '/');

namespace QuickStart
{
    sealed class Picture
    {
        public string ImagePath { get; set; } = "";

        public string Truth { get; set; } = "";
    }

    sealed class Query
    {
        public string Text { get; set; } = "";
    }

    sealed class Prediction
    {
        public string ImagePath { get; set; } = "";

        public string Truth { get; set; } = "";

        [VectorType]
        public string[] TopLabels { get; set; } = [];

        [VectorType]
        public float[] TopScores { get; set; } = [];
    }
}
