// Trains models on rendered scenes, with the same encoders and the same pictures and captions, and asks each which of two captions, one the
// other with something swapped, belongs to which of two pictures: a dual encoder, late fusion, and cross-attention.
//
//   dotnet run -c Release --project samples/Composition -- [--length 1] [--items 504] [--seed 1] [--models clip,dual,late,cross,cross-shuffled]
//       [--output FOLDER]

using System.Globalization;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Transforms.Image;
using MLNetMultimodal;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Models.Blocks;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Training;

CultureInfo.DefaultThreadCurrentCulture = CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
string Option(string name, string otherwise) => Array.IndexOf(args, "--" + name) is >= 0 and var i && i + 1 < args.Length ? args[i + 1] : otherwise;
int Number(string name, int otherwise) => int.Parse(Option(name, otherwise.ToString(CultureInfo.InvariantCulture)), CultureInfo.InvariantCulture);

int seed = Number("seed", 1), items = Number("items", 504);
double length = double.Parse(Option("length", "1"), CultureInfo.InvariantCulture);
const int Batch = 32;
var ml = new MLContext(seed);

// Three lessons, the same for every model: by contrast alone (align before you fuse); with relations that name the side of each object; with all
// there is.
const int StepsPerPass = 1250;
Swap[] things = [Swap.Color, Swap.Size, Swap.Count];
Lesson[] lessons =
[
    new(Passes: 1, [.. things, Swap.Role, Swap.Role], SidesOnly: false, Fuses: false, FinalRateShare: 1),
    new(Passes: 2, [.. things, Swap.Role, Swap.Role, Swap.Role, Swap.Role, Swap.Role], SidesOnly: true, Fuses: true, FinalRateShare: 1),
    new(Passes: 3, World.Evenly, SidesOnly: false, Fuses: true, FinalRateShare: 0),
];
int itemsPerLesson = Math.Max(Batch, (int)(length * StepsPerPass * Batch / 2)); // of two scenes

// Each item is two rows, pictures and captions that differ by one swap: each other's hard negatives, where they come in one batch.
IEnumerable<Item> TrainingItems(int lesson) => World.Items(seed + lesson, itemsPerLesson, heldOut: false, lessons[lesson].Swaps, lessons[lesson].SidesOnly);
IDataView Train(int lesson) => ml.Data.LoadFromEnumerable(TrainingItems(lesson).SelectMany((item, i) => new Row[] { new(item.First, i), new(item.Second, i) }));
CompositionItem Question(Item item) => new([item.First.Caption, item.Second.Caption],
    [new(SceneRenderer.Draw(item.First)), new(SceneRenderer.Draw(item.Second))], item.Swap.ToString());
CompositionItem[] seen = [.. World.Items(seed + 1000, items, heldOut: false, World.Evenly).Select(Question)];
CompositionItem[] heldOut = [.. World.Items(seed + 2000, items, heldOut: true, World.Evenly).Select(Question)];

// All train at the same time, each on a thread of its own, and see the same scenes equally often.
// With "swaps in a batch" the two scenes of an item always come in one; CLIP is trained on shuffled rows.
Contender[] contenders =
[
    new("clip", "dual encoder, shuffled rows (CLIP)", AlbefFusion.None, Together: false),
    new("dual", "dual encoder, swaps in a batch", AlbefFusion.None, Together: true),
    new("late", "late fusion, swaps in a batch", AlbefFusion.Late, Together: true),
    new("cross", "cross-attention, swaps in a batch", AlbefFusion.CrossAttention, Together: true),
    new("cross-shuffled", "cross-attention, shuffled rows", AlbefFusion.CrossAttention, Together: false),
];
string[] wanted = Option("models", "clip,dual,late,cross").Split(',');
if (wanted.FirstOrDefault(w => contenders.All(c => c.Key != w)) is { } unknown)
{
    Console.Error.WriteLine($"--models '{unknown}' is none of {string.Join(", ", contenders.Select(c => c.Key))}.");
    return 1;
}
string output = Option("output", Path.Combine(Path.GetTempPath(), $"composition-{Guid.NewGuid():N}")); // what a lesson leaves, the next starts from
Trained[] trained = await Task.WhenAll(contenders.Where(c => wanted.Contains(c.Key))
    .Select(c => Task.Factory.StartNew(() => Learn(c), TaskCreationOptions.LongRunning)));

var table = new List<string>();
foreach (var (name, minutes, model) in trained)
{
    CompositionMetrics onSeen = ml.Multimodal.EvaluateComposition(model.Model, seen), onHeldOut = ml.Multimodal.EvaluateComposition(model.Model, heldOut);
    table.Add($"| {name} | {minutes:f1} | {onSeen.TextScore:p1} | {onSeen.ImageScore:p1} | **{onSeen.GroupScore:p1}** | {onHeldOut.TextScore:p1} | {onHeldOut.ImageScore:p1} | **{onHeldOut.GroupScore:p1}** |");
    Console.WriteLine($"{name}, seen combinations:     {onSeen}{name}, held-out combinations: {onHeldOut}");
}
if (trained.LastOrDefault() is { } last) Blind(last.Model);

CompositionMetrics byLot = ml.Multimodal.EvaluateComposition((images, _) => new Random(seed) is var r ? [.. images.Select(_ => r.NextSingle())] : [], heldOut);
Console.WriteLine();
Console.WriteLine("| model | minutes | seen: text | image | group | held out: text | image | group |");
Console.WriteLine("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
foreach (string line in table) Console.WriteLine(line);
Console.WriteLine($"| by lot | | {byLot.TextChance:p1} | {byLot.ImageChance:p1} | {byLot.GroupChance:p1} | {byLot.TextChance:p1} | {byLot.ImageChance:p1} | {byLot.GroupChance:p1} |");
foreach (var (_, _, model) in trained) model.Dispose();
if (!args.Contains("--output")) Directory.Delete(output, recursive: true);
return 0;

Trained Learn(Contender contender)
{
    string name = contender.Name;
    DateTime start = DateTime.UtcNow, shown = DateTime.MinValue;
    string folder = Path.Combine(output, contender.Key);
    ImageTextMatchTransformer? model = null;
    for (int lesson = 0; lesson < lessons.Length; lesson++)
    {
        int number = lesson + 1;
        model?.Dispose();
        model = ml.Multimodal.Trainers.ImageTextMatching(new()
        {
            Image = nameof(Row.Image),
            Text = nameof(Row.Caption),
            Together = contender.Together ? nameof(Row.Item) : null,
            Model = vocabulary => Sizes(vocabulary, contender.Fusion),
            Initialize = lesson == 0 ? null : folder,
            Epochs = lessons[lesson].Passes,
            BatchSize = Batch,
            LearningRate = 1e-3,
            FinalRateShare = lessons[lesson].FinalRateShare,
            MatchingWeight = lessons[lesson].Fuses ? 1 : 0,
            MaskingWeight = lessons[lesson].Fuses ? 1 : 0,
            MaskShare = 0.3,
            EvenShare = 0.2,
            Seed = seed,
            Threads = 1,
            Output = folder,
            Progress = new Progress<TrainingStep>(s =>
            {
                if (s.Step < s.Steps && DateTime.UtcNow - shown < TimeSpan.FromSeconds(30)) return;
                shown = DateTime.UtcNow;
                Console.Error.WriteLine($"{name}, lesson {number}: step {s.Step:n0}/{s.Steps:n0} loss {s.Loss:f3} {s.SamplesPerSecond:n0} scenes/s {s.Elapsed:mm\\:ss} gone, {s.Remaining:mm\\:ss} left");
            }),
        }).Fit(Train(lesson));
        CompositionMetrics learnt = ml.Multimodal.EvaluateComposition(model.Model, seen);
        Console.Error.WriteLine($"{name} after lesson {number}: group score {learnt.GroupScore:p1} ({string.Join(", ", learnt.Tags.Select(t => $"{t.Key} {t.Value.GroupScore:p1}"))})");
    }
    return new(name, (DateTime.UtcNow - start).TotalMinutes, model!);
}

// Half of Small48's width: small enough that a thread sees 240,000 scenes in the time there is.
static AlbefConfig Sizes(int vocabulary, AlbefFusion fusion)
{
    AlbefConfig config = AlbefConfig.Small48(vocabulary, fusion: fusion);
    TransformerConfig Narrow(TransformerConfig blocks, int layers) => blocks with { Layers = layers, Width = 64, MlpWidth = 128, Heads = 2 };
    return config with
    {
        Vision = config.Vision with { StemChannels = [16, 32, 64], Blocks = Narrow(config.Vision.Blocks, 1) },
        Text = config.Text with { Blocks = Narrow(config.Text.Blocks, 2) },
        FusionLayers = 2,
    };
}

// What the words or the pictures alone give away: classifiers of "belongs together" that see one of the two.
void Blind(ImageTextMatchTransformer model)
{
    Item[] some = [.. TrainingItems(lessons.Length - 1).Take(1000)];
    float[][] words = model.Model.EmbedTexts([.. some.SelectMany(i => new[] { i.First.Caption, i.Second.Caption })]);
    float[][] pictures = model.Model.EmbedImages([.. some.SelectMany(i => new[] { SceneRenderer.Draw(i.First), SceneRenderer.Draw(i.Second) })]);
    Console.WriteLine($"one sense alone, held-out combinations: {Choice(t => words[t], (_, texts) => model.Model.EmbedTexts(texts)).TextChoice:p1} of captions right by text only, "
        + $"{Choice(p => pictures[p], (images, _) => model.Model.EmbedImages(images)).ImageChoice:p1} of pictures right by image only (chance 50 %)");

    // A row is one of the four pairs of an item, drawn by lot: two of them belong together, two do not.
    CompositionMetrics Choice(Func<int, float[]> oneSense, Func<IReadOnlyList<RgbImage>, IReadOnlyList<string>, float[][]> embed)
    {
        var schema = SchemaDefinition.Create(typeof(Pair));
        schema[nameof(Pair.Features)].ColumnType = new VectorDataViewType(NumberDataViewType.Single, words[0].Length);
        var lot = new Random(seed);
        Pair[] pairs = [.. some.Select((_, i) => new Pair { Features = oneSense(2 * i + lot.Next(2)), Label = lot.Next(2) == 0 })];
        var classifier = ml.BinaryClassification.Trainers.LbfgsLogisticRegression(nameof(Pair.Label), nameof(Pair.Features), l1Regularization: 0, l2Regularization: 0.1f).Fit(ml.Data.LoadFromEnumerable(pairs, schema));
        return ml.Multimodal.EvaluateComposition((images, texts) =>
        {
            IDataView scored = classifier.Transform(ml.Data.LoadFromEnumerable(embed(images, texts).Select(e => new Pair { Features = e }), schema));
            return [.. scored.GetColumn<float>("Score")];
        }, heldOut);
    }
}

/// <summary>A model that is trained.</summary>
/// <param name="Key">Its name in <c>--models</c>.</param>
/// <param name="Name">Its name in the table.</param>
/// <param name="Fusion">How pictures and words meet.</param>
/// <param name="Together">The two scenes of an item come in one batch and are each other's hard negatives.</param>
sealed record Contender(string Key, string Name, AlbefFusion Fusion, bool Together);

sealed record Trained(string Name, double Minutes, ImageTextMatchTransformer Model);

/// <summary>Rows of a training, one after the other.</summary>
/// <param name="Passes">Times that a scene is seen.</param>
/// <param name="Swaps">Of its items, over and over.</param>
/// <param name="SidesOnly">Relations name the side of each object.</param>
/// <param name="Fuses">Pairs are matched and words are masked; otherwise embeddings are contrasted and nothing else.</param>
/// <param name="FinalRateShare">What is left of the learning rate at the end.</param>
sealed record Lesson(int Passes, IReadOnlyList<Swap> Swaps, bool SidesOnly, bool Fuses, double FinalRateShare);

/// <summary>A scene and its caption; the picture is drawn when it is asked for.</summary>
sealed class Row(Scene scene, int item)
{
    [ImageType(World.Edge, World.Edge)]
    public MLImage Image => MLImage.CreateFromPixels(World.Edge, World.Edge, MLPixelFormat.Rgba32, SceneRenderer.DrawRgba(scene));

    public string Caption => scene.Caption;

    public string Item => $"{item}";
}

sealed class Pair
{
    public float[] Features { get; set; } = [];

    public bool Label { get; set; }
}
